//! The command as a process: its start, its signals, its end, and the orphans it leaves.
//!
//! The first process of a container gets the signals that kubelet sends, and every process whose
//! parent died. It is protected from signals that it does not handle, so what is to reach the command
//! has to be handled here and passed on.

use std::ffi::OsString;
use std::future::poll_fn;
use std::io::{self, IsTerminal as _, PipeWriter};
use std::process::{Command, Stdio};
use std::task::Poll;

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, set_child_subreaper, wait,
};
use tokio::signal::unix::{SignalKind, signal};

/// What is passed on. Not among them: what cannot be caught or says that we ourselves did wrong (`BUS`,
/// `SEGV`, `PIPE`, …), and `TTIN` and `TTOU`, which are about our own terminal.
const FORWARDED: [Signal; 19] = [
    Signal::HUP,
    Signal::INT,
    Signal::QUIT,
    Signal::ABORT,
    Signal::USR1,
    Signal::USR2,
    Signal::ALARM,
    Signal::TERM,
    Signal::STKFLT,
    Signal::CONT,
    Signal::TSTP,
    Signal::URG,
    Signal::XCPU,
    Signal::VTALARM,
    Signal::PROF,
    Signal::WINCH,
    Signal::IO,
    Signal::POWER,
    Signal::TRAP,
];
/// A terminal sends these to the command itself.
const FROM_TERMINALS: [Signal; 5] = [
    Signal::INT,
    Signal::QUIT,
    Signal::TSTP,
    Signal::CONT,
    Signal::WINCH,
];

/// Signals that arrive for the command, and the end of children.
pub(super) struct Signals {
    forwarded: Vec<(Signal, tokio::signal::unix::Signal)>,
    children: tokio::signal::unix::Signal,
}

impl Signals {
    /// Catches them from now on.
    pub(super) fn catch() -> io::Result<Self> {
        let has_terminal = io::stdin().is_terminal();
        let wanted = |signal: &Signal| !(has_terminal && FROM_TERMINALS.contains(signal));
        let caught = |kind: Signal| {
            let stream = signal(SignalKind::from_raw(kind.as_raw()))?;
            Ok((kind, stream))
        };
        // a copy that is longer than a limit of this process allows is no reason to die
        drop(signal(SignalKind::from_raw(Signal::XFSZ.as_raw()))?);
        Ok(Self {
            forwarded: FORWARDED
                .into_iter()
                .filter(wanted)
                .map(caught)
                .collect::<io::Result<_>>()?,
            children: signal(SignalKind::child())?,
        })
    }

    /// The next signal to pass on; none if a child may have ended.
    async fn next(&mut self) -> Option<Signal> {
        poll_fn(|context| {
            for (kind, stream) in &mut self.forwarded {
                if stream.poll_recv(context).is_ready() {
                    return Poll::Ready(Some(*kind));
                }
            }
            self.children.poll_recv(context).map(|_| None)
        })
        .await
    }

    /// Passes signals on to `child` until it has ended; its end as an exit status.
    pub(super) async fn until_ended(&mut self, child: Pid) -> u8 {
        loop {
            if let Some(status) = reap(child) {
                return status;
            }
            if let Some(signal) = self.next().await {
                // it may have ended by now
                kill_process(child, signal).ok();
            }
        }
    }
}

/// Starts the command with these ends of pipes as its output. It inherits nothing else of ours.
pub(super) fn spawn(command: &[OsString], (out, err): (PipeWriter, PipeWriter)) -> io::Result<Pid> {
    adopt_orphans();
    let mut command = prepared(command)?;
    // waited for with all other children
    let child = command
        .stdout(Stdio::from(out))
        .stderr(Stdio::from(err))
        .spawn()?;
    Ok(Pid::from_child(&child))
}

/// Becomes the command; answers only if that fails.
pub(super) fn become_it(command: &[OsString]) -> io::Error {
    use std::os::unix::process::CommandExt as _;
    match prepared(command) {
        Ok(mut command) => command.exec(),
        Err(error) => error,
    }
}

fn prepared(command: &[OsString]) -> io::Result<Command> {
    let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command.args(arguments);
    Ok(command)
}

/// Where processes of a pod share one tree, or outside of one, orphans would go to somebody else.
fn adopt_orphans() {
    // an old kernel cannot: then somebody else does
    set_child_subreaper(Some(getpid())).ok();
}

/// Waits for all children that have ended; the exit status of `child` if it is among them.
fn reap(child: Pid) -> Option<u8> {
    let mut ended = None;
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == child => ended = Some(exit_status(status)),
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => return ended,
            // there is no child any more
            Err(_) => return ended.or(Some(1)),
        }
    }
}

/// As a shell says it: 128 and the signal, if one ended it.
fn exit_status(status: WaitStatus) -> u8 {
    let code = match status.terminating_signal() {
        Some(signal) => 128 + signal,
        None => status.exit_status().unwrap_or(1),
    };
    u8::try_from(code & 0xff).unwrap_or(1)
}
