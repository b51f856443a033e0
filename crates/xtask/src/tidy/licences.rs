//! Which licences may come with a dependency: the list of `deny.toml`, applied without cargo-deny.

use anyhow::{Context, Result};

use super::Finding;
use crate::workspace::Metadata;

/// The list `allow` under `[licenses]` of `deny.toml`.
pub(crate) fn allowed(deny: &str) -> Result<Vec<String>> {
    let (_, section) = deny
        .split_once("[licenses]")
        .context("deny.toml has no [licenses]")?;
    let (_, list) = section
        .split_once("allow = [")
        .context("deny.toml has no licence list")?;
    let (list, _) = list
        .split_once(']')
        .context("the licence list of deny.toml has no end")?;
    let names = list.split('"').skip(1).step_by(2);
    Ok(names.map(str::to_owned).collect())
}

/// Packages whose licence is not allowed.
pub(crate) fn check(all: &Metadata, allowed: &[String]) -> Vec<Finding> {
    all.packages
        .iter()
        .filter_map(|package| {
            let place = format!("{} {}", package.name, package.version);
            match &package.license {
                None => Some(Finding::new(place, "names no licence")),
                Some(expression) if is_allowed(expression, allowed) => None,
                Some(expression) => Some(Finding::new(
                    place,
                    format!("comes under {expression}, which deny.toml does not allow"),
                )),
            }
        })
        .collect()
}

/// Whether an SPDX expression can be satisfied with the allowed licences.
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Parser {
        words: &words,
        allowed,
    };
    parser.alternatives() == Some(true) && parser.words.is_empty()
}

/// `OR` of `AND` of names (`name`, `name WITH exception`) and bracketed expressions.
struct Parser<'a> {
    words: &'a [&'a str],
    allowed: &'a [String],
}

impl Parser<'_> {
    fn alternatives(&mut self) -> Option<bool> {
        let mut any = self.conjunction()?;
        while self.take("OR") {
            any |= self.conjunction()?;
        }
        Some(any)
    }

    fn conjunction(&mut self) -> Option<bool> {
        let mut all = self.term()?;
        while self.take("AND") {
            all &= self.term()?;
        }
        Some(all)
    }

    fn term(&mut self) -> Option<bool> {
        if self.take("(") {
            let inner = self.alternatives()?;
            return self.take(")").then_some(inner);
        }
        let (name, rest) = self.words.split_first()?;
        self.words = rest;
        let mut name = (*name).to_owned();
        if self.take("WITH") {
            let (exception, rest) = self.words.split_first()?;
            self.words = rest;
            name = format!("{name} WITH {exception}");
        }
        Some(self.allowed.contains(&name))
    }

    fn take(&mut self, word: &str) -> bool {
        match self.words.split_first() {
            Some((first, rest)) if *first == word => {
                self.words = rest;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn list() -> Vec<String> {
        allowed("[x]\nallow = []\n[licenses]\nallow = [\n \"MIT\",\n \"Apache-2.0\",\n \"Apache-2.0 WITH LLVM-exception\",\n \"ISC\",\n]\n").unwrap()
    }

    #[test]
    fn expressions_are_weighed() {
        for (expression, expected) in [
            ("MIT", true),
            ("GPL-3.0-only", false),
            ("MIT OR GPL-3.0-only", true),
            ("MIT AND GPL-3.0-only", false),
            ("MIT/Apache-2.0", true),
            ("(GPL-2.0-only OR MIT) AND ISC", true),
            ("(GPL-2.0-only OR MIT) AND BSD-3-Clause", false),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("GPL-2.0 WITH LLVM-exception", false),
            ("(MIT", false),
            ("MIT MIT", false),
            ("", false),
        ] {
            assert_eq!(is_allowed(expression, &list()), expected, "{expression}");
        }
    }

    #[test]
    fn packages_with_another_licence_or_none_are_found() {
        let package = |name: &str, license: Option<&str>| {
            json!({ "name": name, "version": "1.0.0", "license": license,
                "manifest_path": "Cargo.toml", "dependencies": [] })
        };
        let packages = [
            package("good", Some("MIT")),
            package("copyleft", Some("AGPL-3.0-only")),
            package("silent", None),
        ];
        let all = serde_json::from_value(json!({ "packages": packages })).unwrap();
        let found: Vec<_> = check(&all, &list()).into_iter().map(|f| f.place).collect();
        assert_eq!(found, ["copyleft 1.0.0", "silent 1.0.0"]);
    }
}
