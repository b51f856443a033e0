//! The texts of the call map, one for each service, compressed when this crate is built.

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use flate2::{Decompress, FlushDecompress};

/// Name, text (deflate), length of the text in bytes; in order of names.
const SECTIONS: &[(&str, &[u8], usize)] = &include!(concat!(env!("OUT_DIR"), "/sections.rs"));

/// Texts that were asked for: a process asks for one, tests for all.
static OPEN: LazyLock<Mutex<BTreeMap<&str, &str>>> = LazyLock::new(Mutex::default);

/// The services that the table knows, in order of their names.
pub(crate) fn services() -> impl Iterator<Item = &'static str> {
    SECTIONS.iter().map(|(name, _, _)| *name)
}

/// What the table says about `service`: its name in the first line, then one record a line.
pub(crate) fn section(service: &str) -> Option<&'static str> {
    let at = SECTIONS
        .binary_search_by(|(name, _, _)| (*name).cmp(service))
        .ok()?;
    let (name, compressed, length) = SECTIONS.get(at)?;
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(text) = open.get(name) {
        return Some(text);
    }
    let mut text = Vec::with_capacity(*length);
    Decompress::new(false)
        .decompress_vec(compressed, &mut text, FlushDecompress::Finish)
        .ok()?;
    let text: &str = String::from_utf8(text).ok()?.leak();
    open.insert(name, text);
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_sections_are_whole_and_in_order() {
        assert!(SECTIONS.len() >= 20);
        assert!(SECTIONS.is_sorted_by_key(|(name, _, _)| name));
        let table = include_str!("../data/callmap.tsv");
        let mut rest = table;
        for (name, _, length) in SECTIONS {
            let text = section(name).unwrap();
            assert_eq!(text.len(), *length);
            rest = rest.strip_prefix("service\t").unwrap();
            rest = rest.strip_prefix(text).unwrap();
            rest = rest.strip_prefix('\n').unwrap_or(rest);
        }
        assert_eq!(rest, "");
        assert_eq!(section("nobody"), None);
    }
}
