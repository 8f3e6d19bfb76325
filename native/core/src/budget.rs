//! The tracer's processor time where the configuration bounds it (`limits.cpu_percent`).
//!
//! The thread that empties the ring waits until what the whole process has used is within its share:
//! the ring fills, and the kernel leaves whole requests out and counts them. Priorities would not do:
//! groups of processes (cgroups, autogroups) share processors first, whatever the priorities inside.

use std::time::Duration;

use crate::clock;

/// No pause is longer, whatever was used: some thousand events a second are told with any bound.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Where time and the tracer are: both only grow.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reading {
    pub(crate) now: Duration,
    /// Processor time of all threads of the tracer.
    pub(crate) used: Duration,
}

impl Reading {
    pub(crate) fn take() -> Self {
        Self {
            now: Duration::from_nanos(clock::monotonic_ns()),
            used: Duration::from_nanos(clock::process_cpu_ns()),
        }
    }
}

/// What may be used, and what was used up to when.
#[derive(Debug)]
pub(crate) struct Budget {
    processors: f64,
    last: Reading,
}

impl Budget {
    /// `percent` is of one processor, more than 0.
    pub(crate) fn new(percent: f64, now: Reading) -> Self {
        Self {
            processors: percent / 100.0,
            last: now,
        }
    }

    /// How long to wait before more is read, given what was used since the call before.
    pub(crate) fn pause(&mut self, now: Reading) -> Duration {
        let used = now.used.saturating_sub(self.last.used);
        let elapsed = now.now.saturating_sub(self.last.now);
        self.last = now;
        let due_s = used.as_secs_f64() / self.processors - elapsed.as_secs_f64();
        Duration::from_secs_f64(due_s.clamp(0.0, LONGEST_PAUSE.as_secs_f64()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    /// Rounds of 50 ms that use `used_ms` each, of a budget of a tenth of a processor.
    fn pauses(used_ms: u64) -> Vec<Duration> {
        let mut budget = Budget::new(10.0, Reading::default());
        let round = |number| {
            budget.pause(Reading {
                now: ms(50 * number),
                used: ms(used_ms * number),
            })
        };
        (1..=20).map(round).collect()
    }

    #[test]
    fn what_is_within_the_budget_never_waits() {
        assert_eq!(pauses(5), [Duration::ZERO; 20]);
    }

    #[test]
    fn what_was_used_beyond_is_waited_for() {
        // 8 ms are worth 80 ms, of which 50 have passed
        assert_eq!(pauses(8), [ms(30); 20]);
    }

    #[test]
    fn much_at_once_is_forgiven() {
        assert_eq!(pauses(45), [LONGEST_PAUSE; 20]);
    }

    #[test]
    fn a_tiny_budget_pauses_for_the_longest_time() {
        let mut budget = Budget::new(f64::MIN_POSITIVE, Reading::default());
        let reading = Reading {
            now: ms(50),
            used: ms(1),
        };
        assert_eq!(budget.pause(reading), LONGEST_PAUSE);
    }
}
