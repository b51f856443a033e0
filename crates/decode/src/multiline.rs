//! The grammar of what the Go runtime prints over many lines: panics, fatal errors, goroutine dumps.
//!
//! ```text
//! group  = header { member }
//! header = "panic: …" | "fatal error: …" | "runtime: …" | "SIGQUIT: quit" | klog "F…"
//!        | date "http: panic serving …" | "goroutine N […" | tab frame
//! member = (before the first goroutine)  any line that is no record of its own, at most 64
//!        | "goroutine N […" | function "(" … ")" | tab "file:line" | "created by …" | register
//!        | "[signal …" | "..." | "exit status N" | ""
//! ```
//! A recovered panic (`http: panic serving`) ends at the first other line. When the process is
//! dying, other goroutines may still print between the lines of the dump: such a record stands for
//! itself and the dump goes on.

/// Lines between a header and the first goroutine that are taken unread: values of many lines.
const VALUE_LINES_MAX: u8 = 64;

/// A record of many lines that is being read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    /// Lines of the panic's value that may still come; `None` once a goroutine was seen.
    value_lines: Option<u8>,
    /// Whether the process ends with this dump.
    dying: bool,
}

/// What a line is to the open group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It belongs to the group.
    Member,
    /// It is a record of its own; the group goes on.
    Foreign,
    /// The group ended before it.
    End,
}

impl Group {
    /// Opens a group if `line` is a header.
    pub(crate) fn start(line: &[u8]) -> Option<Self> {
        let value = |dying| Self {
            value_lines: Some(VALUE_LINES_MAX),
            dying,
        };
        let frames = Self {
            value_lines: None,
            dying: true,
        };
        match line.first()? {
            b'0'..=b'9' => {
                let head = line.get(..64).unwrap_or(line);
                let date = line.get(4) == Some(&b'/') && line.get(7) == Some(&b'/');
                (date && memchr::memmem::find(head, b" http: panic serving ").is_some())
                    .then(|| value(false))
            }
            b'p' | b'f' | b'u' | b'r' | b'S' => [
                &b"panic: "[..],
                b"fatal error: ",
                b"unexpected fault address ",
                b"runtime: ",
                b"runtime/cgo: ",
                b"SIGQUIT: ",
                b"SIGABRT: ",
                b"SIGSEGV: ",
                b"SIGBUS: ",
                b"SIGILL: ",
                b"SIGTRAP: ",
            ]
            .iter()
            .any(|start| line.starts_with(start))
            .then(|| value(true)),
            b'F' => is_klog(line).then(|| value(true)),
            b'g' => is_goroutine(line).then_some(frames),
            b'\t' => is_frame(line).then_some(frames),
            _ => None,
        }
    }

    /// Judges the line that follows in the same stream.
    pub(crate) fn next(&mut self, line: &[u8]) -> Next {
        if is_record(line) {
            let ends = !self.dying || Self::start(line).is_some();
            return if ends { Next::End } else { Next::Foreign };
        }
        if is_goroutine(line) || line.starts_with(b"runtime stack:") {
            self.value_lines = None;
            return Next::Member;
        }
        match &mut self.value_lines {
            Some(0) => Next::End,
            Some(left) => {
                *left -= 1;
                Next::Member
            }
            None if is_member(line) => Next::Member,
            None => Next::End,
        }
    }
}

fn is_goroutine(line: &[u8]) -> bool {
    line.strip_prefix(b"goroutine ")
        .is_some_and(|rest| rest.first().is_some_and(u8::is_ascii_digit))
}

fn is_frame(line: &[u8]) -> bool {
    line.first() == Some(&b'\t')
        && (memchr::memmem::find(line, b".go:").is_some()
            || memchr::memmem::find(line, b".s:").is_some())
}

fn is_member(line: &[u8]) -> bool {
    let Some(first) = line.first() else {
        return true;
    };
    match first {
        b'\t' => true,
        b'[' | b'.' | b'-' => [&b"[signal "[..], b"[originating ", b"...", b"-----"]
            .iter()
            .any(|start| line.starts_with(start)),
        _ => {
            line.starts_with(b"created by ")
                || line.starts_with(b"exit status ")
                || line.starts_with(b"PC=")
                || line.starts_with(b"panic during panic")
                || is_function(line)
                || is_register(line)
        }
    }
}

/// `package/path.(*Type).Method(0xc000, {0x1, 0x2})`
fn is_function(line: &[u8]) -> bool {
    let Some(open) = memchr::memchr(b'(', line) else {
        return false;
    };
    open > 0
        && line.last() == Some(&b')')
        && line
            .get(..open)
            .is_some_and(|path| !path.iter().any(|byte| matches!(byte, b' ' | b'"' | b':')))
}

/// `rflags 0x286`
fn is_register(line: &[u8]) -> bool {
    let mut words = line.split(|byte| *byte == b' ').filter(|w| !w.is_empty());
    let (Some(name), Some(value), None) = (words.next(), words.next(), words.next()) else {
        return false;
    };
    name.len() <= 7 && value.starts_with(b"0x") && name.iter().all(u8::is_ascii_alphanumeric)
}

/// Whether a line has the shape of a record of its own.
fn is_record(line: &[u8]) -> bool {
    let date =
        || line.get(4) == Some(&b'/') && line.get(7) == Some(&b'/') && line.get(10) == Some(&b' ');
    match line.first() {
        Some(b'{') => line.get(1) == Some(&b'"'),
        Some(b'0'..=b'9') => date() || memchr::memmem::find(line, b" - - [").is_some(),
        Some(b'I' | b'W' | b'E' | b'F') => is_klog(line),
        _ => false,
    }
}

/// `I1123 10:15:36.123456 `
pub(crate) fn is_klog(line: &[u8]) -> bool {
    let digits = |from: usize, to: usize| {
        line.get(from..to)
            .is_some_and(|part| part.iter().all(u8::is_ascii_digit))
    };
    matches!(line.first(), Some(b'I' | b'W' | b'E' | b'F'))
        && digits(1, 5)
        && digits(6, 8)
        && digits(15, 21)
        && line.get(5) == Some(&b' ')
        && line.get(8) == Some(&b':')
        && line.get(14) == Some(&b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(lines: &[&str]) -> Vec<Next> {
        let mut group = Group::start(lines[0].as_bytes()).unwrap();
        lines[1..]
            .iter()
            .map(|line| group.next(line.as_bytes()))
            .collect()
    }

    #[test]
    fn a_recovered_panic_ends_at_the_next_record() {
        let verdicts = judge(&[
            "2026/11/23 03:55:34 http: panic serving 127.0.0.6:41676: first line",
            "second line of the value",
            "goroutine 239 [running]:",
            "net/http.(*conn).serve.func1()",
            "\t/usr/local/go/src/net/http/server.go:1897 +0xbd",
            "created by net/http.(*Server).Serve in goroutine 51",
            "\t/usr/local/go/src/net/http/server.go:3464 +0x485",
            "{\"level\":\"info\"}",
        ]);
        assert_eq!(verdicts[..6], [Next::Member; 6]);
        assert_eq!(verdicts[6], Next::End);
    }

    #[test]
    fn a_dying_process_may_still_print_records_between() {
        let verdicts = judge(&[
            "panic: assignment to entry in nil map",
            "[signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x1]",
            "",
            "goroutine 1 [running]:",
            "{\"level\":\"info\"}",
            "main.main()",
            "rflags 0x286",
            "exit status 2",
            "a text that no dump contains",
        ]);
        let mut expected = [Next::Member; 8];
        expected[3] = Next::Foreign;
        expected[7] = Next::End;
        assert_eq!(verdicts, expected);
    }

    #[test]
    fn ordinary_lines_open_nothing() {
        for line in [
            "",
            "{\"msg\":\"panic: x\"}",
            "2026/11/23 03:55:34 GRPC Server received",
            "10.0.0.1 - - [23/Nov/2026:05:09:37 +0100] \"GET / HTTP/1.1\" 200 1",
            "I1123 10:15:36.123456       1 request.go:665] text",
            "goroutines are fine",
            "Warning: apply",
        ] {
            assert!(Group::start(line.as_bytes()).is_none(), "{line}");
        }
    }

    #[test]
    fn a_value_without_end_is_not_taken_for_ever() {
        let mut group = Group::start(b"panic: x").unwrap();
        let members = (0..200)
            .take_while(|_| group.next(b"text") == Next::Member)
            .count();
        assert_eq!(members, usize::from(VALUE_LINES_MAX));
    }
}
