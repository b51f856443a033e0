//! Programs that we start and end: each in a process group of its own, ended with its group when
//! the guard goes away, whatever the reason. Nothing else is ever signalled.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::heard::{Finished, Hear};
use crate::{interrupt, proc, say};

const POLL: Duration = Duration::from_millis(20);
/// How long a program may take to end what it started.
const GRACE: Duration = Duration::from_secs(10);
/// How long the last output of a program that was ended is waited for.
const READ_BOUND: Duration = Duration::from_secs(1);
/// Longest line of a child's output that is looked at, in bytes.
const LINE_BYTES_MAX: u64 = 1024 * 1024;

/// A running program with everything it started.
#[derive(Debug)]
pub(crate) struct Group {
    name: String,
    child: Child,
    ended: Option<ExitStatus>,
}

impl Group {
    /// Starts `command` in a process group of its own.
    pub(crate) fn spawn(name: &str, command: &mut Command) -> Result<Self> {
        use std::os::unix::process::CommandExt;
        let child = command
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {name} ({})", command.get_program().display()))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            ended: None,
        })
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its exit status, if it has ended. What is left of its group is ended then, too.
    pub(crate) fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        if self.ended.is_none() && proc::has_ended(self.id()) {
            // As long as it is not reaped, nobody else can have its id.
            let _nobody_left = self.signal(Signal::KILL);
            let status = self.child.wait();
            self.ended = Some(status.with_context(|| format!("reap {}", self.name))?);
        }
        Ok(self.ended)
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// If it has not ended after `bound`; it goes on running then, until the guard goes away.
    pub(crate) fn wait(&mut self, bound: Duration) -> Result<ExitStatus> {
        let ended = interrupt::poll_until(bound, POLL, || self.try_wait())?;
        ended.with_context(|| format!("{} did not end within {bound:?}", self.name))
    }

    /// Waits until it has ended but stays in the process table, so that its CPU time can be read.
    pub(crate) fn wait_unreaped(&self, bound: Duration) -> Result<()> {
        let id = self.id();
        interrupt::poll_until(bound, POLL, || Ok(proc::has_ended(id).then_some(())))?
            .with_context(|| format!("{} did not end within {bound:?}", self.name))
    }

    /// Waits until it has ended, and ends it gently where that takes too long.
    fn wait_or_end(&mut self, bound: Duration) -> Result<ExitStatus> {
        let ended = self.wait(bound);
        if ended.is_err() {
            self.end_gently();
        }
        ended
    }

    /// Asks it to end, so that it can end what it started itself, and gives it a moment for that.
    fn end_gently(&mut self) {
        let end = Instant::now() + GRACE;
        let asked = self.signal(Signal::TERM).is_ok();
        while asked && Instant::now() < end && matches!(self.try_wait(), Ok(None)) {
            // Not a wait that Ctrl-C ends: it may be the reason why we are here.
            std::thread::park_timeout(POLL);
        }
    }

    /// Sends `signal` to the group.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        if self.ended.is_some() {
            return Ok(());
        }
        let group = i32::try_from(self.id()).ok().and_then(Pid::from_raw);
        let group = group.with_context(|| format!("{} has no process id", self.name))?;
        kill_process_group(group, signal)
            .with_context(|| format!("send {signal:?} to {}", self.name))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !matches!(self.try_wait(), Ok(None)) {
            return;
        }
        let killed = self.signal(Signal::KILL);
        let reaped = self.child.wait();
        if killed.is_err() || reaped.is_err() {
            say::note(format_args!("{} may still run", self.name));
        }
    }
}

/// Runs `command` to its end while each line of its output is heard, and shown on stderr unless who
/// hears it says otherwise. It is ended if it does not end within `bound`; what was heard is kept then,
/// too.
pub(crate) fn run_heard<H: Hear>(
    name: &str,
    command: &mut Command,
    bound: Duration,
) -> Finished<H> {
    let heard = Arc::default();
    let ended = run_to_its_end(name, command, bound, &heard);
    let heard = std::mem::take(&mut *heard.lock().unwrap_or_else(PoisonError::into_inner));
    Finished { ended, heard }
}

fn run_to_its_end<H: Hear>(
    name: &str,
    command: &mut Command,
    bound: Duration,
    heard: &Arc<Mutex<H>>,
) -> Result<ExitStatus> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut group = Group::spawn(name, command)?;
    let readers = [
        group.child.stdout.take().map(|pipe| hear(pipe, heard)),
        group.child.stderr.take().map(|pipe| hear(pipe, heard)),
    ];
    let ended = group.wait_or_end(bound);
    // Whoever still runs is ended, and nobody of the group writes any more.
    drop(group);
    if ended.is_err() {
        let is_read = || readers.iter().flatten().all(JoinHandle::is_finished);
        let _what_is_there =
            interrupt::poll_until(READ_BOUND, POLL, || Ok(is_read().then_some(())));
        return ended;
    }
    for reader in readers.into_iter().flatten() {
        if reader.join().is_err() {
            bail!("reading the output of {name} failed");
        }
    }
    ended
}

/// Runs `command` to its end and returns its stdout; its stderr is shown.
///
/// # Errors
/// If it cannot be started, fails, or does not end within `bound`.
pub(crate) fn output(name: &str, command: &mut Command, bound: Duration) -> Result<String> {
    let (status, text) = captured(name, command, bound)?;
    if !status.success() {
        bail!("{name} failed with {status}");
    }
    Ok(text)
}

/// Runs `command` to its end and returns how it ended and its stdout; its stderr is shown.
///
/// # Errors
/// If it cannot be started or does not end within `bound`; it is ended then.
pub(crate) fn captured(
    name: &str,
    command: &mut Command,
    bound: Duration,
) -> Result<(ExitStatus, String)> {
    command.stdout(Stdio::piped());
    let mut group = Group::spawn(name, command)?;
    let reader = group.child.stdout.take().map(|mut pipe| {
        std::thread::spawn(move || {
            let mut text = String::new();
            pipe.read_to_string(&mut text).map(|_| text)
        })
    });
    let status = group.wait_or_end(bound)?;
    let text = reader
        .context("stdout is not a pipe")?
        .join()
        .map_err(|_| anyhow::anyhow!("reading the output of {name} failed"))?
        .with_context(|| format!("read the output of {name}"))?;
    Ok((status, text))
}

/// A file for a child's output.
pub(crate) fn log_file(path: &Path) -> Result<File> {
    File::options()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("open {}", path.display()))
}

fn hear<H: Hear>(pipe: impl Read + Send + 'static, heard: &Arc<Mutex<H>>) -> JoinHandle<()> {
    let heard = Arc::clone(heard);
    std::thread::spawn(move || {
        let mut reader = BufReader::new(pipe);
        loop {
            let mut line = Vec::new();
            let read = (&mut reader)
                .take(LINE_BYTES_MAX)
                .read_until(b'\n', &mut line);
            if !matches!(read, Ok(1..)) {
                return;
            }
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end();
            if H::IS_SHOWN {
                say::note(format_args!("{line}"));
            }
            let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
            heard.line(line);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heard::Last;

    const BOUND: Duration = Duration::from_secs(5);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn both_streams_are_heard() {
        let mut command = shell("echo one; echo two >&2; exit 3");
        let finished = run_heard::<Last>("script", &mut command, BOUND);
        let mut lines: Vec<&str> = finished.heard.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["one", "two"]);
        assert_eq!(finished.ended.unwrap().code(), Some(3));
    }

    #[test]
    fn what_was_heard_stays_when_a_program_has_to_be_ended() {
        let mut command = shell("echo so far; sleep 60");
        let finished = run_heard::<Last>("slow", &mut command, Duration::from_millis(500));
        assert!(!finished.is_success());
        let error = format!("{:#}", finished.success("slow").unwrap_err());
        let expected = "slow did not end within 500ms, it said at last\nso far";
        assert_eq!(error, expected);
    }

    #[test]
    fn a_failure_says_the_last_lines() {
        let finished = run_heard::<Last>("broken", &mut shell("echo why; exit 2"), BOUND);
        let error = finished.success("broken").unwrap_err().to_string();
        let expected = "broken failed with exit status: 2, it said at last\nwhy";
        assert_eq!(error, expected);
    }

    #[test]
    fn what_hangs_is_ended_with_all_its_children() {
        let mut command = shell("sleep 60 & echo $!; wait");
        command.stdout(Stdio::piped());
        let mut group = Group::spawn("hanging", &mut command).unwrap();
        let mut line = String::new();
        let stdout = group.child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let grandchild: u32 = line.trim().parse().unwrap();
        let error = group.wait(Duration::from_millis(30)).unwrap_err();
        assert!(error.to_string().starts_with("hanging did not end"));
        drop(group);
        interrupt::poll_until(
            BOUND,
            POLL,
            || Ok(proc::has_ended(grandchild).then_some(())),
        )
        .unwrap()
        .expect("the grandchild ends with its group");
    }

    #[test]
    fn what_takes_too_long_can_end_what_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ended");
        let script = format!(
            "trap 'echo x > {}; exit 0' TERM; sleep 60 & wait",
            path.display()
        );
        let bound = Duration::from_millis(200);
        let finished = run_heard::<Last>("slow", &mut shell(&script), bound);
        finished.ended.unwrap_err();
        assert!(path.is_file());
    }

    #[test]
    fn what_a_program_leaves_behind_is_ended_with_it() {
        let mut command = shell("sleep 60 & echo left");
        let finished = run_heard::<Last>("leaving", &mut command, BOUND);
        assert_eq!(finished.heard.to_string(), "left");
    }

    #[test]
    fn a_failing_program_is_an_error() {
        assert_eq!(
            output("echo", &mut shell("echo hi"), BOUND).unwrap(),
            "hi\n"
        );
        let error = output("false", &mut shell("exit 1"), BOUND).unwrap_err();
        assert_eq!(error.to_string(), "false failed with exit status: 1");
    }

    #[test]
    fn cpu_time_can_be_read_after_the_end() {
        let group = Group::spawn("busy", &mut shell("exit 0")).unwrap();
        group.wait_unreaped(BOUND).unwrap();
        assert!(proc::cpu_seconds(group.id()).is_some());
    }
}
