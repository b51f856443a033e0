//! CPU seconds by kind of work, on a runtime with one thread.
//!
//! [`Meter::measure`] wraps the task that does the work and adds the thread's CPU time of each poll
//! to the counter of its kind. Nested measurement would count twice; measure the outermost task.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use prometheus::{CounterVec, Opts, Registry, core::AtomicF64, core::GenericCounter};
use rustix::time::{ClockId, clock_gettime};

/// What the CPU was used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Reading, deciding and delivering log lines.
    Lines,
    /// Receiving spans and access records.
    Spans,
}

impl Work {
    /// The value of the label `work`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lines => "lines",
            Self::Spans => "spans",
        }
    }
}

/// The counters `emco_observer_process_work_cpu_seconds_total{work}`.
#[derive(Clone, Debug)]
pub struct Meter {
    seconds: CounterVec,
}

impl Meter {
    /// Registers the counters, both at zero.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let seconds = CounterVec::new(
            Opts::new(
                "emco_observer_process_work_cpu_seconds_total",
                "CPU time of the process by what it was used for.",
            ),
            &["work"],
        )?;
        registry.register(Box::new(seconds.clone()))?;
        for work in [Work::Lines, Work::Spans] {
            seconds.with_label_values(&[work.name()]);
        }
        Ok(Self { seconds })
    }

    /// Runs `task` and counts the CPU time of its polls as `work`.
    pub fn measure<F: Future>(&self, work: Work, task: F) -> Measured<F> {
        Measured {
            task: Box::pin(task),
            seconds: self.seconds.with_label_values(&[work.name()]),
        }
    }

    /// Runs `body` and counts its CPU time as `work`; for work inside a task of another kind.
    pub fn within<R>(&self, work: Work, body: impl FnOnce() -> R) -> R {
        let start = thread_cpu();
        let result = body();
        let used = thread_cpu().saturating_sub(start).as_secs_f64();
        self.seconds.with_label_values(&[work.name()]).inc_by(used);
        result
    }

    /// Seconds counted for `work` so far.
    pub fn seconds(&self, work: Work) -> f64 {
        self.seconds.with_label_values(&[work.name()]).get()
    }
}

/// A task whose CPU time is counted.
#[must_use = "a task does nothing unless polled"]
pub struct Measured<F> {
    task: Pin<Box<F>>,
    seconds: GenericCounter<AtomicF64>,
}

impl<F: Future> Future for Measured<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let start = thread_cpu();
        let poll = self.task.as_mut().poll(context);
        self.seconds
            .inc_by(thread_cpu().saturating_sub(start).as_secs_f64());
        poll
    }
}

fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    fn busy() {
        let start = thread_cpu();
        while thread_cpu().saturating_sub(start) < Duration::from_millis(5) {
            std::hint::black_box(0);
        }
    }

    #[test]
    fn polls_are_counted_by_work() {
        let meter = Meter::new(&Registry::new()).unwrap();
        let mut task = Box::pin(meter.measure(Work::Spans, async {
            busy();
            7
        }));
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(task.as_mut().poll(&mut context), Poll::Ready(7));
        meter.within(Work::Lines, busy);
        meter.within(Work::Lines, busy);
        let (lines, spans) = (meter.seconds(Work::Lines), meter.seconds(Work::Spans));
        assert!((0.005..1.0).contains(&spans), "{spans}");
        assert!((0.010..1.0).contains(&lines), "{lines}");
    }
}
