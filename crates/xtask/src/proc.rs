//! What the kernel says of a process: `/proc/<pid>/{stat,status}`.

use std::fs::File;
use std::io::Read;

/// Clock ticks a second in `/proc/<pid>/stat`: fixed in the kernel's interface to programs.
const TICKS_PER_SECOND: f64 = 100.0;
const BYTES_MAX: u64 = 64 * 1024;

/// Whether the process is gone or waits to be reaped.
pub(crate) fn has_ended(pid: u32) -> bool {
    read(&format!("/proc/{pid}/stat"))
        .and_then(|stat| stat_fields(&stat)?.first().map(|state| state == "Z"))
        .unwrap_or(true)
}

/// User and system time of the process so far, also when it has ended but is not reaped.
pub(crate) fn cpu_seconds(pid: u32) -> Option<f64> {
    cpu_seconds_of(&read(&format!("/proc/{pid}/stat"))?)
}

/// Resident memory of the process, in bytes.
pub(crate) fn resident_bytes(pid: u32) -> Option<u64> {
    status_number(&read(&format!("/proc/{pid}/status"))?, "VmRSS").map(|kib| kib * 1024)
}

/// Largest resident memory of the process so far, in bytes.
pub(crate) fn peak_resident_bytes(pid: u32) -> Option<u64> {
    status_number(&read(&format!("/proc/{pid}/status"))?, "VmHWM").map(|kib| kib * 1024)
}

/// How often the threads of the process went to sleep by themselves so far.
pub(crate) fn voluntary_switches(pid: u32) -> Option<u64> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    Some(
        tasks
            .filter_map(Result::ok)
            .filter_map(|task| read(task.path().join("status").to_str()?))
            .filter_map(|status| status_number(&status, "voluntary_ctxt_switches"))
            .sum(),
    )
}

fn read(path: &str) -> Option<String> {
    let mut text = String::new();
    let file = File::open(path).ok()?;
    file.take(BYTES_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

/// The fields after the program's name, which may hold spaces and brackets; the first is the state.
fn stat_fields(stat: &str) -> Option<Vec<String>> {
    let (_, fields) = stat.rsplit_once(") ")?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

fn cpu_seconds_of(stat: &str) -> Option<f64> {
    let fields = stat_fields(stat)?;
    let user: u32 = fields.get(11)?.parse().ok()?;
    let system: u32 = fields.get(12)?.parse().ok()?;
    Some((f64::from(user) + f64::from(system)) / TICKS_PER_SECOND)
}

fn status_number(status: &str, name: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_past_a_name_with_brackets() {
        let stat = "7 (a) b) S 1 7 7 0 -1 0 0 0 0 0 250 50 9 9 20 0 1 0 5";
        assert_eq!(cpu_seconds_of(stat), Some(3.0));
        let status = "VmHWM:\t 10 kB\nVmRSS:\t 8 kB\nnonvoluntary_ctxt_switches:\t9\nvoluntary_ctxt_switches:\t4\n";
        assert_eq!(status_number(status, "VmRSS"), Some(8));
        assert_eq!(status_number(status, "voluntary_ctxt_switches"), Some(4));
    }

    #[test]
    fn our_own_process_has_figures() {
        let pid = std::process::id();
        assert!(!has_ended(pid));
        assert!(cpu_seconds(pid).is_some());
        assert!(voluntary_switches(pid).is_some());
        assert!(peak_resident_bytes(pid) >= resident_bytes(pid));
        assert!(resident_bytes(pid) > Some(100_000));
    }

    #[test]
    fn a_process_that_never_was_has_ended() {
        assert!(has_ended(u32::MAX));
        assert_eq!(cpu_seconds(u32::MAX), None);
    }
}
