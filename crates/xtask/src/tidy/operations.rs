//! The page for operators says what is true: each counter and each sentence in its table is the
//! program's, and the tests in the same row look for them: in their own bodies, or in those of the
//! functions and constants of the same file that they name.
//!
//! | column | holds |
//! |---|---|
//! | 3 | counters, with labels where only some of their series are meant |
//! | 4 | parts of sentences |
//! | 5 | names of tests |

use std::collections::BTreeMap;

use super::{Finding, Source};

const PAGE: &str = "docs/operations.md";
const COLUMNS: usize = 5;

/// One row of the table.
#[derive(Debug, PartialEq, Eq)]
struct Row<'a> {
    line: usize,
    counters: Vec<&'a str>,
    sentences: Vec<&'a str>,
    tests: Vec<&'a str>,
}

/// What the page says and the sources do not.
pub(crate) fn check(sources: &[Source]) -> Vec<Finding> {
    let page = sources.iter().find(|source| source.path == PAGE);
    let Some(page) = page else {
        return vec![Finding::new(PAGE, "is missing")];
    };
    let rows = rows(&page.text);
    if rows.is_empty() {
        return vec![Finding::new(PAGE, "has no table of what may be wrong")];
    }
    let product = product(sources);
    let finding = |row: &Row<'_>, what| Finding::new(format!("{PAGE}:{}", row.line), what);
    let mut findings = Vec::new();
    for row in &rows {
        let missing = row.missing(&product, sources);
        findings.extend(missing.into_iter().map(|what| finding(row, what)));
    }
    findings
}

/// The code of all crates, without tests, strings that go over several lines made one.
fn product(sources: &[Source]) -> String {
    let ours = sources
        .iter()
        .filter(|source| source.is_rust() && !source.is_test && source.path.starts_with("crates/"));
    let ours = ours.filter(|source| !source.path.starts_with("crates/xtask/"));
    let mut text = String::new();
    for source in ours {
        for (_, line) in source.code() {
            text.push_str(line.trim_start());
            if line.ends_with('\\') {
                text.pop();
            } else {
                text.push('\n');
            }
        }
    }
    text
}

/// The rows whose third column has a counter.
fn rows(page: &str) -> Vec<Row<'_>> {
    let lines = page.lines().zip(1..);
    let tables = lines.filter(|(line, _)| line.starts_with("| ") && line.ends_with('|'));
    tables
        .filter_map(|(line, number)| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
            let [_, _, counters, sentences, tests] = cells.first_chunk::<COLUMNS>()?;
            let row = Row {
                line: number,
                counters: quoted(counters),
                sentences: quoted(sentences),
                tests: quoted(tests),
            };
            // the head of the table names a path in its fourth column
            (!row.counters.is_empty() || !row.tests.is_empty()).then_some(row)
        })
        .collect()
}

/// What stands between backticks.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

impl Row<'_> {
    fn missing(&self, product: &str, sources: &[Source]) -> Vec<String> {
        let mut missing = Vec::new();
        if self.counters.is_empty() || self.sentences.is_empty() || self.tests.is_empty() {
            missing.push("needs a counter, a sentence and a test".to_owned());
        }
        let tests: Vec<String> = self
            .tests
            .iter()
            .filter_map(|test| {
                let function = format!("fn {test}(");
                let found = sources
                    .iter()
                    .find(|source| source.is_test && source.text.contains(&function));
                if found.is_none() {
                    missing.push(format!("names the test `{test}`, which does not exist"));
                }
                found.map(|source| reached(&source.text, test))
            })
            .collect();
        let tested = |part: &str| tests.iter().any(|test| test.contains(part));
        let counters = self.counters.iter().flat_map(|counter| literals(counter));
        let sentences = self.sentences.iter();
        let sentences = sentences.map(|part| (*part, (*part).to_owned()));
        for (part, literal) in counters.chain(sentences) {
            if !product.contains(&literal) {
                missing.push(format!("has `{part}`, which is nowhere in the program"));
            } else if !tested(part) {
                missing.push(format!("has `{part}`, which its tests do not look for"));
            }
        }
        missing
    }
}

/// The text of `function` and of what it names, directly or not, of the items in `text`.
fn reached(text: &str, function: &str) -> String {
    let items = items(text);
    let mut names = vec![function];
    let mut reached = String::new();
    let mut next = 0;
    while let Some(item) = names.get(next).and_then(|name| items.get(name)) {
        reached.push_str(item);
        let named = items.keys().filter(|name| has_word(item, name));
        let new: Vec<&str> = named
            .filter(|name| !names.contains(name))
            .copied()
            .collect();
        names.extend(new);
        next += 1;
    }
    reached
}

/// The functions and constants in formatted code, each with its lines but for comments. Those of one
/// name are one.
fn items(text: &str) -> BTreeMap<&str, String> {
    let mut items: BTreeMap<&str, String> = BTreeMap::new();
    let mut open: Option<(&str, &str)> = None;
    for line in text.lines() {
        let code = line.trim_start();
        let indent = line.get(..line.len() - code.len()).unwrap_or_default();
        let begins = open.is_none();
        if begins {
            open = name(code).map(|name| (name, indent));
        }
        let Some((name, begun)) = open else {
            continue;
        };
        if !code.starts_with("//") {
            let item = items.entry(name).or_default();
            item.push_str(code);
            item.push('\n');
        }
        let ends = if is_constant(name) {
            code.ends_with(';')
        } else {
            begins && code.ends_with(['}', ';']) || indent == begun && code == "}"
        };
        if ends {
            open = None;
        }
    }
    items
}

/// The name of the function or constant that begins in this line.
fn name(code: &str) -> Option<&str> {
    let mut head = code;
    for word in ["pub(crate) ", "pub(super) ", "pub ", "async "] {
        head = head.strip_prefix(word).unwrap_or(head);
    }
    let constant = head.strip_prefix("const ");
    let rest = constant.unwrap_or(head);
    let rest = rest.strip_prefix("fn ").or(constant)?;
    let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_'))?;
    rest.get(..end).filter(|name| !name.is_empty())
}

/// By the compiler's own rule for names.
fn is_constant(name: &str) -> bool {
    !name.contains(|c: char| c.is_lowercase())
}

/// Whether `text` has the constant `name`, or calls the function.
fn has_word(text: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(name).any(|(at, _)| {
        let before = text.get(..at).and_then(|text| text.chars().next_back());
        let behind = text.get(at + name.len()..);
        let behind = behind.and_then(|text| text.chars().next());
        let ends = match behind {
            Some(c) if is_constant(name) => !is_part(c),
            Some(c) => matches!(c, '(' | ':'),
            None => true,
        };
        ends && !before.is_some_and(is_part)
    })
}

/// The name of a counter and the values of its labels, each with how the program has it.
fn literals(counter: &str) -> Vec<(&str, String)> {
    let (name, labels) = counter.split_once('{').unwrap_or((counter, ""));
    let values = labels.split('"').skip(1).step_by(2);
    let parts = [name].into_iter().chain(values);
    parts.map(|part| (part, format!("\"{part}\""))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "| wrong | happens | counted as | said on `/health` | tested by |\n|---|---|---|---|---|\n";
    const ROW: &str = "| a | b | `emco_a_total{reason=\"b\"}` | `it is broken` | `it_breaks` |\n";
    const PRODUCT: &str = "const A: &str = \"emco_a_total\";\nconst B: &str = \"b\";\nwarn!(\n    \"oh, it is \\\n     broken\");\n";
    const TESTS: &str =
        "async fn it_breaks() {\n    says(\"it is broken\", \"emco_a_total\", \"b\");\n}\n";

    fn found(page: &str, product: &str, tests: &str) -> Vec<String> {
        let source = |path: &str, text: &str| Source::new(path.to_owned(), text.to_owned());
        let sources = [
            source(PAGE, &[HEAD, page].concat()),
            source("crates/a/src/a.rs", product),
            source("crates/a/tests/a.rs", tests),
        ];
        let findings = check(&sources).into_iter();
        findings
            .map(|finding| format!("{}: {}", finding.place, finding.what))
            .collect()
    }

    #[test]
    fn a_true_row_is_fine() {
        assert_eq!(found(ROW, PRODUCT, TESTS), [""; 0]);
    }

    #[test]
    fn what_the_program_does_not_say_is_found() {
        for (part, other) in [
            ("emco_a_total", "emco_c_total"),
            ("oh, it is", "oh, was"),
            ("\"b\"", "\"c\""),
        ] {
            let findings = found(ROW, &PRODUCT.replace(part, other), TESTS);
            assert_eq!(findings.len(), 1, "{part}: {findings:?}");
            assert!(
                findings[0].contains("nowhere in the program"),
                "{findings:?}"
            );
            assert!(
                findings[0].starts_with("docs/operations.md:3: "),
                "{findings:?}"
            );
        }
    }

    #[test]
    fn what_no_test_looks_for_is_found() {
        for part in ["emco_a_total", "it is broken", "it_breaks"] {
            let findings = found(ROW, PRODUCT, &TESTS.replace(part, "x"));
            assert!(!findings.is_empty(), "{part}");
        }
        let findings = found(&ROW.replace("`it_breaks`", "–"), PRODUCT, TESTS);
        assert!(findings[0].contains("needs a counter"), "{findings:?}");
    }

    /// What another test of the file looks for, or a comment says, is not what this one looks for.
    #[test]
    fn what_only_another_function_looks_for_is_found() {
        for part in ["it is broken", "emco_a_total"] {
            for elsewhere in [
                format!("fn another() {{\n    says(\"{part}\");\n}}\n"),
                format!("// {part}\n"),
                format!("const A: &str = \"{part}\";\n"),
            ] {
                let tests = TESTS.replace(part, "x");
                let inside = tests.replace("{\n", &format!("{{\n    // {part}\n"));
                let tests = format!("{elsewhere}{inside}{elsewhere}");
                let findings = found(ROW, PRODUCT, &tests);
                assert_eq!(findings.len(), 1, "{tests}: {findings:?}");
                assert!(findings[0].contains("do not look for"), "{findings:?}");
            }
        }
    }

    #[test]
    fn what_a_function_or_constant_that_is_named_looks_for_is_looked_for() {
        let part = "\"it is broken\"";
        for helper in [
            format!("fn says_so() {{\n    let f = inner;\n    says({part});\n}}\n"),
            format!("fn says_so() -> &'static str {{ {part} }}\n"),
            format!("fn says_so() {{\n    says(A);\n}}\nconst A: &str = {part};\n"),
            format!("fn says_so() {{\n    A\n}}\nconst A: &str =\n    {part};\n"),
            format!("fn says_so() {{\n    A\n}}\nconst A: [&str; 1] = [\n    {part},\n];\n"),
            format!("fn says_so() {{\n    deeper();\n}}\nfn deeper() {{\n    says({part});\n}}\n"),
        ] {
            let tests = TESTS.replace(part, "says_so()");
            assert_eq!(found(ROW, PRODUCT, &format!("{helper}{tests}")), [""; 0]);
            let uncalled = TESTS.replace(part, "not_says_so()");
            assert_eq!(found(ROW, PRODUCT, &format!("{helper}{uncalled}")).len(), 1);
        }
    }

    #[test]
    fn a_page_without_rows_is_no_page() {
        assert_eq!(found("", PRODUCT, TESTS).len(), 1);
        assert_eq!(check(&[]).len(), 1);
    }
}
