//! What a line costs on its way through `wrap`, beside the same line through a pipe alone.
//!
//! ```text
//! pulse ─────────▶ pipe ─▶ here        a line says when it was written
//! pulse ─▶ wrap ─▶ pipe ─▶ here        and is compared with the clock when it is here
//! ```

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};

use super::statistics::{Samples, from_count};
use super::subject::Bench;
use crate::child::Group;
use crate::proc;

/// With and without take turns so often in one run: a neighbour disturbs both alike.
const TURNS: u32 = 20;
/// Lines whose way is timed in one turn, and their pause: an EMCO service under load.
const TIMED_LINES: u64 = 250;
/// The first of them find everything cold.
const COLD_LINES: usize = 10;
const TIMED_PAUSE: Duration = Duration::from_millis(1);
/// Lines of one run that is as fast as it can be, so many bytes each.
const FAST_LINES: u64 = 1_000_000;
const LINE_BYTES: usize = 285;
const END_BOUND: Duration = Duration::from_secs(10);

/// What the command that is measured is told.
#[derive(Debug, clap::Args)]
pub(super) struct PulseArgs {
    /// How many lines.
    #[arg(long)]
    lines: u64,
    /// Microseconds between two.
    #[arg(long)]
    pause: u64,
}

/// Figures of `wrap`.
pub(super) struct Measured {
    /// Added to a line's time, by half and by 99 of 100 lines, in microseconds.
    pub(super) added_half: Samples,
    pub(super) added_most: Samples,
    /// The pipe alone, for comparison.
    pub(super) pipe_most: Samples,
    /// Memory in bytes while lines come, and after a burst.
    pub(super) memory: Samples,
    pub(super) memory_after: Samples,
    /// CPU time of a line in microseconds, when they come as fast as they can.
    pub(super) cpu: Samples,
}

/// Writes lines that say when they were written.
pub(super) fn pulse(args: &PulseArgs) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let fill = "x".repeat(LINE_BYTES - 22);
    for _ in 0..args.lines {
        if args.pause > 0 {
            std::thread::park_timeout(Duration::from_micros(args.pause));
        }
        let line = format!("{:020} {fill}\n", now()?);
        out.write_all(line.as_bytes()).context("write a line")?;
    }
    Ok(())
}

/// Measures in turn with and without, so that both have the same machine.
pub(super) fn measure(bench: &Bench<'_>, runs: u32) -> Result<Measured> {
    let mut figures: [Vec<f64>; 6] = Default::default();
    for run in 0..runs {
        let folder = bench.folder(&format!("wrap-{run}"))?;
        let directory = folder.join("output");
        let (mut pipe, mut wrapped) = (Timed::default(), Timed::default());
        for _ in 0..TURNS {
            pipe.turn(None)?;
            wrapped.turn(Some((bench.program(), &directory)))?;
        }
        let fast = fast(bench.program(), &directory)?;
        let values = [
            wrapped.share(50) - pipe.share(50),
            wrapped.share(99) - pipe.share(99),
            pipe.share(99),
            from_count(wrapped.memory),
            fast.memory,
            fast.cpu_seconds * 1e6 / from_count(FAST_LINES),
        ];
        for (figure, value) in figures.iter_mut().zip(values) {
            figure.push(value);
        }
    }
    let [added_half, added_most, pipe_most, memory, memory_after, cpu] =
        figures.map(Samples::from_iter);
    Ok(Measured {
        added_half,
        added_most,
        pipe_most,
        memory,
        memory_after,
        cpu,
    })
}

#[derive(Default)]
struct Timed {
    /// How late each line was, in nanoseconds.
    late: Vec<u64>,
    memory: u64,
}

struct Fast {
    cpu_seconds: f64,
    memory: f64,
}

impl Timed {
    fn turn(&mut self, wrap: Option<(&Path, &Path)>) -> Result<()> {
        let (mut group, out) = start(wrap, TIMED_LINES, TIMED_PAUSE)?;
        let mut late = Vec::new();
        for line in BufReader::new(out).lines() {
            let line = line.context("read a line")?;
            let written = line.get(..20).context("a line says when it was written")?;
            late.push(now()?.saturating_sub(written.parse()?));
            if late.len() as u64 == TIMED_LINES / 2 {
                self.memory = proc::resident_bytes(group.id()).context("read the memory")?;
            }
        }
        group.wait(END_BOUND)?;
        ensure!(late.len() as u64 == TIMED_LINES, "every line is here");
        self.late.extend(late.into_iter().skip(COLD_LINES));
        Ok(())
    }

    /// What so many of 100 lines do not exceed, in microseconds.
    fn share(&mut self, share: usize) -> f64 {
        self.late.sort_unstable();
        let late = self.late.get(self.late.len() * share / 100).copied();
        from_count(late.unwrap_or_default()) / 1e3
    }
}

fn fast(program: &Path, directory: &Path) -> Result<Fast> {
    let (mut group, out) = start(Some((program, directory)), FAST_LINES, Duration::ZERO)?;
    let mut out = BufReader::with_capacity(1 << 16, out);
    let (mut bytes, mut memory) = (0, 0);
    let expected = FAST_LINES * LINE_BYTES as u64;
    loop {
        let count = out.fill_buf().context("read lines")?.len();
        if count == 0 {
            break;
        }
        out.consume(count);
        bytes += count as u64;
        if memory == 0 && bytes > expected / 10 * 9 {
            memory = proc::resident_bytes(group.id()).context("read the memory")?;
        }
    }
    ensure!(bytes == expected, "every byte is here");
    group.wait_unreaped(END_BOUND)?;
    let cpu_seconds = proc::cpu_seconds(group.id()).context("read the CPU time")?;
    group.wait(END_BOUND)?;
    Ok(Fast {
        cpu_seconds,
        memory: from_count(memory),
    })
}

/// Starts what writes lines, under `wrap` if one is given with its directory.
fn start(
    wrap: Option<(&Path, &Path)>,
    lines: u64,
    pause: Duration,
) -> Result<(Group, impl Read + use<>)> {
    let this = std::env::current_exe().context("find this program")?;
    let mut command = match wrap {
        Some((program, directory)) => {
            let mut command = Command::new(program);
            command.arg("wrap").arg("--output").arg(directory);
            command.arg("--").arg(&this);
            command
        }
        None => Command::new(&this),
    };
    let (reader, writer) = std::io::pipe().context("make a pipe")?;
    command
        .args(["bench", "pulse", "--lines", &lines.to_string()])
        .args(["--pause", &pause.as_micros().to_string()])
        .stdout(Stdio::from(writer));
    let group = Group::spawn("pulse", &mut command)?;
    // the command holds our end of what it writes to
    drop(command);
    Ok((group, reader))
}

/// Nanoseconds by a clock that all processes share.
fn now() -> Result<u64> {
    let since = SystemTime::UNIX_EPOCH.elapsed().context("read the clock")?;
    u64::try_from(since.as_nanos()).context("read the clock")
}
