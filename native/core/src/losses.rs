//! Names of the places counted in the kernel's `losses` and `hits` maps.

use libbpf_rs::{MapCore, MapFlags, MapHandle};

use crate::error::{Error, ErrorKind, Result};

/// `enum loss_place` of `bpf/include/shared_maps.h`.
pub(crate) const LOSS_PLACES: [&str; 9] = [
    "ring_full",
    "targets",
    "connection_memory",
    "unreadable_memory",
    "records",
    "calls",
    "open_calls",
    "returns",
    "call_counts",
];

/// `enum hit_place` of `bpf/include/shared_maps.h`.
pub(crate) const HIT_PLACES: [&str; 6] = [
    "operations",
    "sockets",
    "not_http",
    "requests",
    "sampled_out",
    "elsewhere",
];

/// Sums of a per-CPU array of counters, by place.
pub(crate) fn read_counters<const N: usize>(
    map: &MapHandle,
    names: &[&'static str; N],
) -> Result<[u64; N]> {
    let mut sums = [0; N];
    for (sum, place) in sums.iter_mut().zip(0u32..) {
        let values = map
            .lookup_percpu(&place.to_ne_bytes(), MapFlags::ANY)
            .map_err(|error| {
                Error::new(
                    ErrorKind::Failed,
                    format!("cannot read the counters of {names:?}"),
                    error,
                    "",
                )
            })?;
        *sum = values.iter().flatten().map(|cpu| u64_of(cpu)).sum();
    }
    Ok(sums)
}

fn u64_of(bytes: &[u8]) -> u64 {
    bytes
        .first_chunk()
        .map_or(0, |eight| u64::from_ne_bytes(*eight))
}
