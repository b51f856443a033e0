//! The container runtime's framing: `<RFC 3339 time> <stream> <P|F> <text>`.

use model::time::UnixNanos;

use super::corpus::Lines;

/// Physical lines that are read before a record without an end is given up.
const GROUP_LINES_MAX: usize = 16 * 1024;

/// One physical line of a container log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct CriLine {
    /// Everything, without the newline.
    pub(super) bytes: Vec<u8>,
    /// Where the text begins.
    text: usize,
    pub(super) time_ns: u64,
    pub(super) is_stdout: bool,
    pub(super) is_partial: bool,
}

/// Physical lines with whole records only: no record of the group goes on after it.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) lines: Vec<CriLine>,
}

impl CriLine {
    /// Reads the framing; `None` if it is none.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let time_end = memchr::memchr(b' ', bytes)?;
        let UnixNanos(time_ns) = UnixNanos::parse_rfc3339(bytes.get(..time_end)?)?;
        let rest = bytes.get(time_end + 1..)?;
        let is_stdout = rest.starts_with(b"stdout ");
        if !is_stdout && !rest.starts_with(b"stderr ") {
            return None;
        }
        let is_partial = match rest.get(7..9)? {
            b"P " => true,
            b"F " => false,
            _ => return None,
        };
        Some(Self {
            bytes: bytes.to_vec(),
            text: time_end + 10,
            time_ns,
            is_stdout,
            is_partial,
        })
    }

    pub(super) fn text(&self) -> &[u8] {
        self.bytes.get(self.text..).unwrap_or_default()
    }

    pub(super) fn text_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.text..).unwrap_or_default()
    }

    pub(super) const fn stream(&self) -> &'static str {
        if self.is_stdout { "stdout" } else { "stderr" }
    }
}

impl Group {
    /// Reads the next group of `log`; `None` at the end. Lines without framing are an error of the
    /// recording.
    pub(super) fn next(log: &mut Lines) -> anyhow::Result<Option<Self>> {
        let mut group = Self::default();
        let mut open = [false; 2];
        let mut bytes = Vec::new();
        while group.lines.len() < GROUP_LINES_MAX && log.next(&mut bytes)? {
            let Some(line) = CriLine::parse(&bytes) else {
                anyhow::bail!(
                    "a line of the recording has no CRI framing: {:.80}",
                    String::from_utf8_lossy(&bytes)
                );
            };
            if let Some(open) = open.get_mut(usize::from(line.is_stdout)) {
                *open = line.is_partial;
            }
            group.lines.push(line);
            if open == [false; 2] {
                break;
            }
        }
        Ok((!group.lines.is_empty()).then_some(group))
    }

    /// The records of the group: positions of their physical lines, in the order in which the
    /// records begin.
    pub(super) fn records(&self) -> Vec<Vec<usize>> {
        let mut records: Vec<Vec<usize>> = Vec::new();
        let mut open: [Option<usize>; 2] = [None; 2];
        for (position, line) in self.lines.iter().enumerate() {
            let Some(slot) = open.get_mut(usize::from(line.is_stdout)) else {
                continue;
            };
            let record = slot.unwrap_or(records.len());
            match records.get_mut(record) {
                Some(parts) => parts.push(position),
                None => records.push(vec![position]),
            }
            *slot = line.is_partial.then_some(record);
        }
        records
    }

    /// The joined text of a record.
    pub(super) fn text_of(&self, record: &[usize]) -> Vec<u8> {
        let parts = record.iter().filter_map(|part| self.lines.get(*part));
        parts.flat_map(|line| line.text().iter().copied()).collect()
    }

    /// Puts `text`, of unchanged length, back into the parts of a record.
    pub(super) fn put_text(&mut self, record: &[usize], text: &[u8]) {
        let mut rest = text;
        for part in record {
            let Some(line) = self.lines.get_mut(*part) else {
                continue;
            };
            let field = line.text_mut();
            let (head, tail) = rest.split_at(field.len().min(rest.len()));
            if head.len() == field.len() {
                field.copy_from_slice(head);
            }
            rest = tail;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(stream: &str, tag: &str, text: &str) -> CriLine {
        CriLine::parse(format!("2026-11-23T04:09:37.000000001Z {stream} {tag} {text}").as_bytes())
            .unwrap()
    }

    #[test]
    fn parts_belong_to_the_record_of_their_stream() {
        let group = Group {
            lines: vec![
                line("stderr", "P", "ab"),
                line("stdout", "F", "other"),
                line("stderr", "F", "cd"),
            ],
        };
        assert_eq!(group.records(), [vec![0, 2], vec![1]]);
        assert_eq!(group.text_of(&[0, 2]), b"abcd");
    }

    #[test]
    fn a_stamp_across_two_parts_moves_too() {
        let mut group = Group {
            lines: vec![
                line("stderr", "P", "2026/11/2"),
                line("stderr", "F", "3 04:09:37 x"),
            ],
        };
        let mut text = group.text_of(&[0, 1]);
        super::super::shift::Shift::new(1).text(&mut text, 0);
        group.put_text(&[0, 1], &text);
        assert_eq!(group.lines[1].text(), b"3 04:09:38 x");
    }

    #[test]
    fn what_has_no_framing_is_none() {
        for text in [
            "",
            "x",
            "2026-11-23T04:09:37Z stdin F x",
            "2026-11-23T04:09:37Z stdout Q x",
        ] {
            assert_eq!(CriLine::parse(text.as_bytes()), None, "{text}");
        }
    }
}
