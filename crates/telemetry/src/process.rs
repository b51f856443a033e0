//! What this process costs, read from `/proc/self` when somebody asks.
//!
//! Names are those every Prometheus client uses (`process_*`); what they do not have has our prefix.
//! Nothing is read between two scrapes.

use std::fs::File;
use std::io::Read;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge, IntCounter, IntGauge, Registry};
use rustix::time::{ClockId, clock_gettime};

/// More than `/proc/self/status` ever has.
const STATUS_BYTES_MAX: u64 = 64 * 1024;

/// Figures of the process; clones share the same metrics.
#[derive(Clone, Debug)]
pub struct Process {
    resident: IntGauge,
    resident_peak: IntGauge,
    cpu: Counter,
    descriptors: IntGauge,
    switches: IntCounter,
    started: Gauge,
    first_read: Gauge,
}

impl Process {
    /// Registers the figures; the process counts as started now.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let process = Self {
            resident: IntGauge::new(
                "process_resident_memory_bytes",
                "Resident memory size in bytes.",
            )?,
            resident_peak: IntGauge::new(
                "emco_observer_process_resident_memory_peak_bytes",
                "Largest resident memory size so far in bytes.",
            )?,
            cpu: Counter::new(
                "process_cpu_seconds_total",
                "User and system CPU time spent in seconds.",
            )?,
            descriptors: IntGauge::new("process_open_fds", "Open file descriptors.")?,
            switches: IntCounter::new(
                "emco_observer_process_voluntary_context_switches_total",
                "Times a thread of the process went to sleep by itself.",
            )?,
            started: Gauge::new(
                "process_start_time_seconds",
                "Start of the process in seconds since the epoch.",
            )?,
            first_read: Gauge::new(
                "emco_observer_process_first_read_time_seconds",
                "First read of a log file in seconds since the epoch; 0 before.",
            )?,
        };
        process.started.set(unix_seconds());
        registry.register(Box::new(process.clone()))?;
        Ok(process)
    }

    /// Marks the first read of a log file; later calls change nothing.
    pub fn mark_first_read(&self) {
        if self.first_read.get() <= 0.0 {
            self.first_read.set(unix_seconds());
        }
    }

    fn refresh(&self) {
        let status = Status::parse(&read_status("/proc/self/status"));
        self.resident.set(to_i64(status.resident_bytes));
        self.resident_peak.set(to_i64(status.resident_peak_bytes));
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let used = Duration::new(
            u64::try_from(cpu.tv_sec).unwrap_or(0),
            u32::try_from(cpu.tv_nsec).unwrap_or(0),
        );
        self.cpu
            .inc_by((used.as_secs_f64() - self.cpu.get()).max(0.0));
        let (descriptors, threads) = (entries("/proc/self/fd"), threads_switches());
        self.descriptors.set(to_i64(descriptors));
        self.switches
            .inc_by(threads.saturating_sub(self.switches.get()));
    }

    fn parts(&self) -> [&dyn Collector; 7] {
        [
            &self.resident,
            &self.resident_peak,
            &self.cpu,
            &self.descriptors,
            &self.switches,
            &self.started,
            &self.first_read,
        ]
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.parts().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.refresh();
        self.parts()
            .into_iter()
            .flat_map(Collector::collect)
            .collect()
    }
}

/// The lines of `/proc/<pid>/status` that matter.
#[derive(Debug, Default, PartialEq, Eq)]
struct Status {
    resident_bytes: u64,
    resident_peak_bytes: u64,
    voluntary_switches: u64,
}

impl Status {
    fn parse(text: &str) -> Self {
        let mut status = Self::default();
        for line in text.lines() {
            let Some((name, value)) = line.split_once(':') else {
                continue;
            };
            let number = value
                .split_whitespace()
                .next()
                .and_then(|word| word.parse::<u64>().ok())
                .unwrap_or(0);
            match name {
                "VmRSS" => status.resident_bytes = number * 1024,
                "VmHWM" => status.resident_peak_bytes = number * 1024,
                "voluntary_ctxt_switches" => status.voluntary_switches = number,
                _ => {}
            }
        }
        status
    }
}

fn read_status(path: &str) -> String {
    let mut text = String::new();
    let read =
        File::open(path).and_then(|file| file.take(STATUS_BYTES_MAX).read_to_string(&mut text));
    if read.is_err() {
        text.clear();
    }
    text
}

fn threads_switches() -> u64 {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else {
        return 0;
    };
    tasks
        .filter_map(Result::ok)
        .filter_map(|task| task.path().join("status").to_str().map(read_status))
        .map(|status| Status::parse(&status).voluntary_switches)
        .sum()
}

fn entries(directory: &str) -> u64 {
    std::fs::read_dir(directory).map_or(0, |entries| entries.count() as u64)
}

fn to_i64(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unix_seconds() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str, name: &str) -> f64 {
        text.lines()
            .find_map(|line| line.strip_prefix(&format!("{name} ")))
            .unwrap_or_else(|| panic!("{name} is missing"))
            .parse()
            .unwrap()
    }

    #[test]
    fn figures_are_read_when_asked() {
        let registry = Registry::new();
        let process = Process::new(&registry).unwrap();
        let before = crate::exposition::render(&registry).unwrap();
        assert!(value(&before, "process_resident_memory_bytes") > 100_000.0);
        assert!(value(&before, "process_open_fds") >= 3.0);
        assert!(value(&before, "emco_observer_process_first_read_time_seconds") <= 0.0);
        process.mark_first_read();
        let _held = File::open("/proc/self/status").unwrap();
        let after = crate::exposition::render(&registry).unwrap();
        assert!(value(&after, "process_open_fds") > value(&before, "process_open_fds"));
        assert!(
            value(&after, "emco_observer_process_first_read_time_seconds")
                >= value(&after, "process_start_time_seconds")
        );
        assert!(
            value(&after, "process_cpu_seconds_total")
                >= value(&before, "process_cpu_seconds_total")
        );
    }

    #[test]
    fn status_lines_are_understood() {
        let text = "Name:\tx\nVmHWM:\t   6144 kB\nVmRSS:\t 5120 kB\nThreads:\t1\n\
                    voluntary_ctxt_switches:\t42\nnonvoluntary_ctxt_switches:\t7\n";
        let expected = Status {
            resident_bytes: 5120 * 1024,
            resident_peak_bytes: 6144 * 1024,
            voluntary_switches: 42,
        };
        assert_eq!(Status::parse(text), expected);
        assert_eq!(Status::parse("nonsense"), Status::default());
    }
}
