//! How much processor time the tracer takes: what nobody else wants, and a small share where the
//! machine is busy.
//!
//! A server that takes every processor must not lose them to who watches it. Priorities do not see
//! to that: groups of processes (cgroups, autogroups) share processors among them first, whatever
//! the priorities inside. So the thread that empties the ring waits until what the tracer has used
//! is within its share; the ring fills, and the kernel leaves whole requests out and counts them.

use std::time::Duration;

use crate::clock;

/// Share of all processors that the tracer takes where nothing is idle.
const BUSY_SHARE: f64 = 0.03;
/// The same in processors, for small machines.
const LEAST_PROCESSORS: f64 = 0.05;
/// A machine of which less is idle is busy.
const IDLE_SHARE: f64 = 0.05;
/// Idle time is measured over so long at least.
const IDLE_WINDOW: Duration = Duration::from_millis(250);
/// No pause is longer, whatever was used: some thousand events a second are told on any machine.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Where the machine and the tracer are: times that only grow.
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

/// What was used since when, and whether the machine is busy.
#[derive(Debug)]
pub(crate) struct Budget {
    processors: f64,
    last: Reading,
    /// When idle time was read, and what it was; the sum over all processors.
    idle_since: Option<(Duration, Duration)>,
    is_busy: bool,
}

impl Budget {
    pub(crate) fn new(processors: f64, now: Reading) -> Self {
        Self {
            processors,
            last: now,
            idle_since: None,
            is_busy: false,
        }
    }

    /// Whether the machine was busy when it was last looked at.
    pub(crate) fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// How long to wait before more is read, given what was used since the call before. `idle` reads
    /// the machine's idle time; it is asked only where that makes a difference.
    pub(crate) fn pause(
        &mut self,
        now: Reading,
        idle: impl FnOnce() -> Option<Duration>,
    ) -> Duration {
        let used = now.used.saturating_sub(self.last.used);
        let elapsed = now.now.saturating_sub(self.last.now);
        self.last = now;
        let share = (self.processors * BUSY_SHARE).max(LEAST_PROCESSORS);
        let due = used.div_f64(share);
        if due <= elapsed {
            return Duration::ZERO;
        }
        self.look(now.now, idle);
        if self.is_busy {
            (due - elapsed).min(LONGEST_PAUSE)
        } else {
            Duration::ZERO
        }
    }

    /// Finds out whether the machine is busy, once per window.
    fn look(&mut self, now: Duration, idle: impl FnOnce() -> Option<Duration>) {
        let elapsed = self.idle_since.map(|(since, _)| now.saturating_sub(since));
        if elapsed.is_some_and(|elapsed| elapsed < IDLE_WINDOW) {
            return;
        }
        let idle = idle();
        self.is_busy = match (self.idle_since, idle) {
            (Some((since, before)), Some(idle)) => {
                let window = now.saturating_sub(since).as_secs_f64() * self.processors;
                idle.saturating_sub(before).as_secs_f64() < window * IDLE_SHARE
            }
            _ => false,
        };
        self.idle_since = idle.map(|idle| (now, idle));
    }
}

/// Processors that are online.
pub(crate) fn processors() -> f64 {
    // SAFETY: asks for a number.
    let count = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    f64::from(i32::try_from(count).unwrap_or(1).max(1))
}

/// Idle time of all processors since the machine started, waiting for disks included.
pub(crate) fn machine_idle() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    // SAFETY: asks for a number.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    idle_in(
        &text,
        u32::try_from(per_second).ok().filter(|&ticks| ticks > 0)?,
    )
}

fn idle_in(stat: &str, per_second: u32) -> Option<Duration> {
    // cpu user nice system idle iowait …
    let mut figures = stat.strip_prefix("cpu ")?.split_ascii_whitespace().skip(3);
    let idle: u64 = figures.next()?.parse().ok()?;
    let waiting: u64 = figures.next()?.parse().ok()?;
    Some(Duration::from_secs(idle.saturating_add(waiting)) / per_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    /// Rounds of 50 ms that use 5 ms each, on two processors of which `idle_ms` are idle per round.
    fn pauses(idle_ms: u64, rounds: u64) -> Vec<Duration> {
        let mut budget = Budget::new(2.0, Reading::default());
        let round = |number| {
            let reading = Reading {
                now: ms(50 * number),
                used: ms(5 * number),
            };
            budget.pause(reading, || Some(ms(idle_ms * number)))
        };
        (1..=rounds).map(round).collect()
    }

    #[test]
    fn nothing_waits_where_a_processor_is_idle() {
        assert_eq!(pauses(40, 20), [Duration::ZERO; 20]);
    }

    #[test]
    fn a_busy_machine_is_left_to_others() {
        let pauses = pauses(1, 20);
        // the first window is needed to know
        assert_eq!(pauses[..5], [Duration::ZERO; 5]);
        // 5 ms at 3 % of two processors are worth 83 ms, of which 50 have passed
        assert!(pauses[6..].iter().all(|pause| pause.as_millis() == 33));
    }

    #[test]
    fn what_is_within_the_share_never_waits() {
        let mut budget = Budget::new(2.0, Reading::default());
        for number in 1..100 {
            let reading = Reading {
                now: ms(50 * number),
                used: ms(3 * number),
            };
            assert_eq!(budget.pause(reading, || unreachable!()), Duration::ZERO);
        }
    }

    #[test]
    fn much_at_once_is_forgiven() {
        let mut budget = Budget::new(1.0, Reading::default());
        let mut reading = Reading::default();
        for _ in 0..20 {
            reading.now += ms(50);
            reading.used += ms(40);
            assert!(budget.pause(reading, || Some(Duration::ZERO)) <= LONGEST_PAUSE);
        }
    }

    #[test]
    fn a_machine_that_does_not_tell_is_not_busy() {
        let mut budget = Budget::new(2.0, Reading::default());
        for number in 1..20 {
            let reading = Reading {
                now: ms(50 * number),
                used: ms(5 * number),
            };
            assert_eq!(budget.pause(reading, || None), Duration::ZERO);
        }
    }

    #[test]
    fn idle_time_is_read_from_the_kernels_figures() {
        let stat = "cpu  10 20 30 400 50 0 0 0 0 0\ncpu0 1 2 3 4 5\n";
        assert_eq!(idle_in(stat, 100), Some(ms(4500)));
        assert_eq!(idle_in("cpu  10 20 30 400", 100), None);
        assert_eq!(idle_in("", 100), None);
    }
}
