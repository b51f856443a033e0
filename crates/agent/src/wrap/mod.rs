//! Runs a command and keeps a copy of its output where the sidecar can read it: for pods that may not
//! mount the logs of their node.
//!
//! ```text
//!            pipe  ┌───────── relay ─────────┐ our stdout, stderr
//! command ───────▶ │ read ─▶ copy ─▶ pass on │ ──────────────────▶ container runtime
//!    ▲             └──────────┬──────────────┘
//!    │ signals                ▼
//!   child            DIR/<n>.log, CRI lines ─▶ the sidecar, as if kubelet had written them
//! ```
//!
//! It is the application's first process, so it promises:
//! - **The runtime gets the same bytes on the same descriptor**, and both streams stay apart.
//! - **A line is in the copy before it goes on**, as long as the copy can be written. A copy that cannot
//!   be written costs lines of the copy, which are counted and told of, and never the command's time.
//! - **The command is held up by nothing but the runtime's own pipe** and, as by a runtime, by a disk
//!   that is slow to take what is written.
//! - **Signals and exit status are the command's**, orphans are reaped. Where anything of this cannot be
//!   set up, we become the command: it runs in any case.
//! - **The command's end is the end.** What is in the pipes by then is relayed; descendants that still
//!   hold them are not waited for. In a container they end with its first process, as ever.
//!
//! It deliberately knows no settings file, no sidecar and no network, and needs less than a megabyte
//! beside the program's own pages.

mod child;
mod folder;
mod output;
mod relay;
mod wire;

use std::ffi::OsString;
use std::io::{self, PipeReader, PipeWriter, Write as _, pipe};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use model::line::Stream;
use tokio::runtime::Runtime;

use crate::cli::Wrap;
use crate::environment;
use child::Signals;
use folder::Folder;
use output::{Change, Missing, Output};
use relay::{Relay, Shared, lock};
use wire::Framing;

/// As kubelet keeps: five files of 10 MiB.
pub(crate) const BYTES_MAX_DEFAULT: u64 = 50 << 20;
/// Less has no room for lines of full length.
const BYTES_MAX_MIN: u64 = 1 << 20;
/// A relay needs little more than its buffers, which are not there.
const STACK_BYTES: usize = 128 * 1024;
/// What a shell says of a command that is not there, and of one that cannot be run.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

/// Everything that has to be there before the command starts.
struct Stage {
    runtime: Runtime,
    signals: Signals,
    /// Ends of the pipes for the command.
    writers: (PipeWriter, PipeWriter),
    relays: [JoinHandle<()>; 2],
    shared: Arc<Shared>,
    /// Dropped when the command has ended.
    end: PipeWriter,
}

/// Runs the command to its end.
pub(crate) fn run(wrap: &Wrap) -> ExitCode {
    match Stage::set(wrap) {
        Ok(stage) => stage.play(&wrap.command),
        Err(error) => {
            say(&format_args!("output is not copied, {error}"));
            refused(&wrap.command, &child::become_it(&wrap.command))
        }
    }
}

impl Stage {
    fn set(wrap: &Wrap) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?;
        let signals = runtime.block_on(async { Signals::catch() })?;
        let folder = Folder::new(wrap.output.clone(), wrap.bytes_max.max(BYTES_MAX_MIN));
        let (output, change) = Output::open(folder, environment::now());
        if let Some(change) = change {
            // nobody waits yet
            say(&change);
        }
        let (end_seen, end) = pipe()?;
        let shared = Arc::new(Shared {
            output: Mutex::new(output),
            ended: AtomicBool::new(false),
            end: end_seen,
            tell,
        });
        let (out_source, out) = pipe()?;
        let (err_source, err) = pipe()?;
        let relays = [
            start(Stream::Stdout, out_source, io::stdout(), &shared)?,
            start(Stream::Stderr, err_source, io::stderr(), &shared)?,
        ];
        Ok(Self {
            runtime,
            signals,
            writers: (out, err),
            relays,
            shared,
            end,
        })
    }

    fn play(mut self, command: &[OsString]) -> ExitCode {
        let child = match child::spawn(command, self.writers) {
            Ok(child) => child,
            Err(error) => return refused(command, &error),
        };
        let status = self.runtime.block_on(self.signals.until_ended(child));
        self.shared.ended.store(true, Ordering::Release);
        drop(self.end);
        for relay in self.relays {
            // one that failed has nothing more to relay
            drop(relay.join());
        }
        let missing = lock(&self.shared.output).finish(environment::now());
        if missing != Missing::default() {
            say(&format_args!("{missing}"));
        }
        ExitCode::from(status)
    }
}

fn start<S: AsFd + Send + 'static>(
    stream: Stream,
    source: PipeReader,
    sink: S,
    shared: &Arc<Shared>,
) -> io::Result<JoinHandle<()>> {
    let relay = Relay::new(source, sink, Framing::new(stream), Arc::clone(shared))?;
    thread::Builder::new()
        .stack_size(STACK_BYTES)
        .spawn(move || relay.run())
}

/// Says what happened to the copy. Our own standard error may be held up: nobody waits for this.
fn tell(change: Change) {
    // where there is no room for a thread, the counts at the end have to do
    drop(thread::Builder::new().spawn(move || say(&change)));
}

fn refused(command: &[OsString], error: &io::Error) -> ExitCode {
    let program = command.first().map(|program| program.to_string_lossy());
    let program = program.unwrap_or_default();
    say(&format_args!("cannot run {program}: {error}"));
    match error.kind() {
        io::ErrorKind::NotFound => ExitCode::from(NOT_FOUND),
        _ => ExitCode::from(NOT_EXECUTABLE),
    }
}

fn say(what: &dyn std::fmt::Display) {
    // one write, so that it stands alone among the command's lines
    let line = format!("emco-observer wrap: {what}\n");
    drop(io::stderr().write_all(line.as_bytes()));
}
