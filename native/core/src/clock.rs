//! One clock: records carry CLOCK_MONOTONIC, events Unix time.

fn read_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is valid for writing; these clocks exist on every Linux.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// CLOCK_MONOTONIC in ns: the clock of `bpf_ktime_get_ns`.
pub fn monotonic_ns() -> u64 {
    read_ns(libc::CLOCK_MONOTONIC)
}

/// Processor time that all threads of this process have used, in ns.
pub(crate) fn process_cpu_ns() -> u64 {
    read_ns(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// Unix time minus CLOCK_MONOTONIC, in ns. Of some readings the one with the
/// narrowest bracket counts, so that being scheduled away in between does no harm.
pub fn unix_minus_monotonic_ns() -> i64 {
    (0..3)
        .map(|_| {
            let before = monotonic_ns();
            let unix = read_ns(libc::CLOCK_REALTIME);
            let width = monotonic_ns() - before;
            (
                width,
                unix.cast_signed() - (before + width / 2).cast_signed(),
            )
        })
        .min()
        .map_or(0, |(_, offset)| offset)
}
