//! Ids in dead-letter files.
//!
//! The files are the sidecar's own; here only the ids are looked for, which stand in them as text:
//! 32 hex digits, a dash, and the offset in hex.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::args::LaneName;

const FILE_BYTES_MAX: u64 = 1 << 30;
const KEY_DIGITS: usize = 32;

/// The ids in all dead-letter files below `state`, by lane: files in a folder whose path names the
/// lane and dead letters.
pub(crate) fn find(state: &Path, lanes: &[LaneName]) -> BTreeMap<&'static str, Vec<String>> {
    let mut found: BTreeMap<&'static str, BTreeSet<String>> = BTreeMap::new();
    let mut folders = vec![state.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.to_string_lossy();
            for lane in lanes {
                if name.contains("dead") && name.contains(lane.name()) {
                    found.entry(lane.name()).or_default().extend(ids_in(&path));
                }
            }
        }
    }
    let listed = found.into_iter();
    listed
        .map(|(lane, ids)| (lane, ids.into_iter().collect()))
        .collect()
}

fn ids_in(path: &Path) -> BTreeSet<String> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes));
    if read.is_err() {
        return BTreeSet::new();
    }
    ids(&bytes)
}

fn ids(bytes: &[u8]) -> BTreeSet<String> {
    let is_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let dashes = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'-');
    dashes
        .filter_map(|(dash, _)| {
            let key = bytes.get(dash.checked_sub(KEY_DIGITS)?..dash)?;
            let rest = bytes.get(dash + 1..)?;
            let digits = rest.iter().take_while(|byte| is_hex(byte)).count();
            let offset = rest.get(..digits).filter(|offset| !offset.is_empty())?;
            key.iter().all(is_hex).then(|| {
                let (key, offset) = (
                    String::from_utf8_lossy(key),
                    String::from_utf8_lossy(offset),
                );
                format!("{key}-{offset}")
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "187e7c133f983aa0c3605441e8a81e6c-4d0";

    #[test]
    fn ids_are_found_between_other_bytes() {
        let bytes = format!("\u{0}\u{1}\u{24}{ID}\u{7}mapping-x not-an-id {ID}\u{0}");
        assert_eq!(ids(bytes.as_bytes()).into_iter().collect::<Vec<_>>(), [ID]);
    }

    #[test]
    fn only_dead_letters_of_the_lane_count() {
        let state = tempfile::tempdir().unwrap();
        for path in ["clm/dead-letters/elastic/1", "clm/lanes/elastic/1"] {
            let path = state.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, ID).unwrap();
        }
        let found = find(state.path(), &[LaneName::Forward, LaneName::Elastic]);
        assert_eq!(found.get("elastic").map(Vec::len), Some(1));
        assert_eq!(found.get("forward"), None);
    }
}
