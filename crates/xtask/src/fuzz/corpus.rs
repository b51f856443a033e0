//! First inputs, made from a generated recording.
//!
//! Targets take their decisions off the end of an input (`tests/fuzz/src/input.rs`), so a piece of a
//! recording with a few bytes behind it is an input.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use flate2::read::MultiGzDecoder;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{list, remove};
use crate::demo::build;

const SEED: u64 = 1;
/// How much of each file of the recording is used, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Most inputs that are made of one file.
const INPUTS_MAX: usize = 24;
/// Longest piece of a container's log, in bytes.
const PIECE_BYTES: usize = 2048;
/// Spans of one body, lines of one piece of access log.
const GROUP: usize = 3;

/// Makes inputs for the targets that read what a recording holds, unless they are there already.
pub(super) fn make(corpus: &Path) -> Result<()> {
    let done = corpus.join("generated");
    if done.is_file() {
        return Ok(());
    }
    let programs = build::lab()?;
    let recording = corpus.with_extension("recording");
    remove(&recording)?;
    build::generate(&programs, &recording, SEED)?;
    for path in list(&recording)? {
        if path.to_string_lossy().ends_with(".cri.log.gz") {
            logs(corpus, &path)?;
        }
    }
    for path in list(&recording.join("spans"))? {
        if path.to_string_lossy().ends_with(".bodies.gz") {
            spans(corpus, &path)?;
        }
    }
    for path in list(&recording.join("access"))? {
        access(corpus, &path)?;
    }
    remove(&recording)?;
    std::fs::write(&done, "").with_context(|| format!("write {}", done.display()))
}

/// Pieces for the framer, lines for decoder and secrets.
fn logs(corpus: &Path, path: &Path) -> Result<()> {
    let content = read(path)?;
    let lines: Vec<&[u8]> = content.split_inclusive(|byte| *byte == b'\n').collect();
    for piece in spread(&pieces(&lines)) {
        write(corpus, "framer", &[piece, &[64, 0, 0]])?;
    }
    for line in spread(&lines) {
        let text = after_header(line);
        write(corpus, "decoder", &[text, &[0]])?;
        let (before, after) = text.split_at(text.len() / 2);
        let form = u8::try_from(line.len() % 251).unwrap_or(0);
        write(corpus, "secrets", &[before, &[0xff], after, &[form]])?;
    }
    Ok(())
}

fn spans(corpus: &Path, path: &Path) -> Result<()> {
    let content = read(path)?;
    let spans = whole_spans(&content);
    ensure!(!spans.is_empty(), "{} has no spans", path.display());
    let groups: Vec<&[&RawValue]> = spans.chunks(GROUP).collect();
    for group in spread(&groups) {
        let texts: Vec<&str> = group.iter().map(|span| span.get()).collect();
        let run = texts.join(",");
        write(corpus, "spans", &[b"[", run.as_bytes(), b"]", &[0, 1, 60]])?;
        write(corpus, "traces", &[run.as_bytes(), &[0]])?;
        write(corpus, "journal", &[run.as_bytes(), &[0, 0]])?;
    }
    Ok(())
}

fn access(corpus: &Path, path: &Path) -> Result<()> {
    let content = read(path)?;
    let lines: Vec<&[u8]> = content.split_inclusive(|byte| *byte == b'\n').collect();
    let records: Vec<&[u8]> = lines
        .into_iter()
        .filter(|line| serde_json::from_slice::<Value>(line).is_ok())
        .collect();
    let groups: Vec<&[&[u8]]> = records.chunks(GROUP).collect();
    for group in spread(&groups) {
        write(corpus, "hub", &[&group.concat(), &[2, 0]])?;
    }
    for line in spread(&records) {
        write(corpus, "decoder", &[line, &[0]])?;
    }
    Ok(())
}

/// The spans of bodies that stand one behind another, the last of which may be cut.
fn whole_spans(bodies: &[u8]) -> Vec<&RawValue> {
    let bodies = serde_json::Deserializer::from_slice(bodies).into_iter::<Vec<&RawValue>>();
    bodies.map_while(Result::ok).flatten().collect()
}

/// The text of a line of a container's log: after time, stream and tag.
fn after_header(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.splitn(4, |byte| *byte == b' ').nth(3).unwrap_or(line)
}

/// Neighbouring lines together.
fn pieces(lines: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut pieces: Vec<Vec<u8>> = Vec::new();
    for line in lines {
        match pieces.last_mut() {
            Some(piece) if piece.len() + line.len() <= PIECE_BYTES => {
                piece.extend_from_slice(line);
            }
            _ => pieces.push(line.to_vec()),
        }
    }
    pieces
}

/// A few of many, from everywhere.
fn spread<T>(all: &[T]) -> impl Iterator<Item = &T> {
    all.iter().step_by(all.len().div_ceil(INPUTS_MAX).max(1))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let doing = || format!("read {}", path.display());
    let file = File::open(path).with_context(doing)?;
    let mut content = Vec::new();
    MultiGzDecoder::new(file)
        .take(FILE_BYTES_MAX)
        .read_to_end(&mut content)
        .with_context(doing)?;
    Ok(content)
}

/// Writes an input; its name follows from its content.
fn write(corpus: &Path, target: &str, parts: &[&[u8]]) -> Result<()> {
    let folder = corpus.join(target);
    super::make(&folder)?;
    let content = parts.concat();
    let hash = content
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    let path = folder.join(format!("generated-{hash:016x}"));
    std::fs::write(&path, content).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_put_together_up_to_a_bound() {
        let line = [b'x'; 900];
        let pieces = pieces(&[&line[..], &line, &line, &line, &line]);
        let lengths: Vec<usize> = pieces.iter().map(Vec::len).collect();
        assert_eq!(lengths, [1800, 1800, 900]);
    }

    #[test]
    fn spans_are_taken_out_of_bodies() {
        let spans = whole_spans(b"[{\"id\":1},{}][{\"id\":2}][{\"id\":3}");
        let texts: Vec<&str> = spans.iter().map(|span| span.get()).collect();
        assert_eq!(texts, ["{\"id\":1}", "{}", "{\"id\":2}"]);
    }

    #[test]
    fn a_header_is_taken_off() {
        assert_eq!(after_header(b"T stderr F a b\n"), b"a b");
        assert_eq!(after_header(b"bare\n"), b"bare");
    }

    #[test]
    fn a_few_are_taken_from_everywhere() {
        let all: Vec<usize> = (0..100).collect();
        let few: Vec<usize> = spread(&all).copied().collect();
        assert!(few.len() <= INPUTS_MAX && few.contains(&0) && few.iter().any(|n| *n > 90));
    }
}
