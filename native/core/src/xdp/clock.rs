//! The kernel's tick as time: flows are stamped with `jiffies`, which costs a packet nothing.

use std::os::fd::AsRawFd;

use libbpf_rs::{MapCore, MapFlags, MapHandle};

use crate::error::Result;

/// Ticks since the kernel started to CLOCK_MONOTONIC, measured again and again since the clock is steered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TickClock {
    tick_ns: u64,
    /// CLOCK_MONOTONIC at tick 0; negative where ticks started before.
    zero_ns: i64,
}

impl TickClock {
    /// The length of a tick: what the coarse clock steps by.
    pub(crate) fn tick_ns() -> u64 {
        let mut resolution = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: valid for writing; the clock exists on every Linux.
        unsafe { libc::clock_getres(libc::CLOCK_MONOTONIC_COARSE, &raw mut resolution) };
        u64::try_from(resolution.tv_nsec).unwrap_or(0).max(1)
    }

    /// Ticks in a second.
    pub(crate) fn per_second() -> u32 {
        u32::try_from(1_000_000_000 / Self::tick_ns())
            .unwrap_or(1)
            .max(1)
    }

    /// Both clocks at the same instant.
    pub(crate) fn new(jiffies: u64, coarse_ns: u64) -> Self {
        let tick_ns = Self::tick_ns();
        let at_ns = i64::try_from(u128::from(jiffies) * u128::from(tick_ns)).unwrap_or(i64::MAX);
        Self {
            tick_ns,
            zero_ns: coarse_ns.cast_signed().wrapping_sub(at_ns),
        }
    }

    /// CLOCK_MONOTONIC of a tick.
    pub(crate) fn monotonic_ns(&self, jiffies: u64) -> i64 {
        let at_ns = i64::try_from(u128::from(jiffies) * u128::from(self.tick_ns));
        self.zero_ns.wrapping_add(at_ns.unwrap_or(i64::MAX))
    }
}

/// Asks the kernel, by a program that is run once and leaves its answer in `map`.
pub(crate) fn read(program: &impl AsRawFd, map: &MapHandle) -> Result<TickClock> {
    super::load::run_once(program)?;
    let value = map.lookup(&0u32.to_ne_bytes(), MapFlags::ANY);
    let bytes = value.ok().flatten().unwrap_or_default();
    let word = |at: usize| {
        bytes
            .get(at..at + 8)
            .and_then(<[u8]>::first_chunk)
            .map_or(0, |eight| u64::from_ne_bytes(*eight))
    };
    Ok(TickClock::new(word(0), word(8)))
}

#[cfg(test)]
mod tests {
    use super::TickClock;

    #[test]
    fn ticks_are_counted_from_the_reading() {
        let clock = TickClock::new(1_000, 5_000_000_000);
        let tick = TickClock::tick_ns().cast_signed();
        assert_eq!(clock.monotonic_ns(1_000), 5_000_000_000);
        assert_eq!(clock.monotonic_ns(1_003), 5_000_000_000 + 3 * tick);
        assert_eq!(clock.monotonic_ns(998), 5_000_000_000 - 2 * tick);
    }
}
