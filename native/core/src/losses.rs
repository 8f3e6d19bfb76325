//! What the kernel's part counts: the places of its `losses` and `hits` maps, and runs that the kernel left out.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use libbpf_rs::libbpf_sys::{bpf_prog_get_info_by_fd, bpf_prog_info};
use libbpf_rs::{AsRawLibbpf, MapCore, MapFlags, MapHandle, Object};

use crate::error::{Error, ErrorKind, Result};
use crate::object::map_handle;

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

/// Runs that the kernel left out, because another thread was in the same program on that CPU: some kernels preempt it.
const PROGRAM_BUSY: &str = "program_busy";

/// A session's losses in the kernel, told as differences.
pub(crate) struct KernelLosses {
    map: MapHandle,
    /// Of programs that are loaded.
    programs: Vec<OwnedFd>,
    left_out: u64,
    told: [u64; LOSS_PLACES.len()],
    told_left_out: u64,
}

impl KernelLosses {
    pub(crate) fn new(object: &Object) -> Result<Self> {
        Ok(Self {
            map: map_handle(object, "losses")?,
            programs: loaded_programs(object)?,
            left_out: 0,
            told: [0; LOSS_PLACES.len()],
            told_left_out: 0,
        })
    }

    /// Place and count of what was lost since the last call.
    pub(crate) fn read(&mut self) -> Result<Vec<(&'static str, u64)>> {
        let now = read_counters(&self.map, &LOSS_PLACES)?;
        if !self.programs.is_empty() {
            self.left_out = self.programs.iter().map(left_out).sum();
        }
        let since = now.iter().zip(&self.told).map(|(now, told)| now - told);
        let busy = self.left_out.saturating_sub(self.told_left_out);
        let losses = LOSS_PLACES.into_iter().zip(since);
        let losses = losses.chain([(PROGRAM_BUSY, busy)]);
        let losses = losses.filter(|(_, count)| *count > 0).collect();
        (self.told, self.told_left_out) = (now, self.left_out);
        Ok(losses)
    }

    /// Counts a last time and holds the programs no longer; they end with their object.
    pub(crate) fn let_go(&mut self) {
        let programs = std::mem::take(&mut self.programs);
        self.left_out = programs.iter().map(left_out).sum();
    }
}

fn loaded_programs(object: &Object) -> Result<Vec<OwnedFd>> {
    object
        .progs()
        // SAFETY: the program belongs to the object, which lives as long.
        .filter(|program| unsafe {
            libbpf_rs::libbpf_sys::bpf_program__fd(program.as_libbpf_object().as_ptr()) >= 0
        })
        .map(|program| program.as_fd().try_clone_to_owned())
        .collect::<std::io::Result<_>>()
        .map_err(|error| {
            let what = "cannot hold the kernel programs";
            Error::new(ErrorKind::Failed, what, error, "ulimit -n 4096")
        })
}

/// `recursion_misses` of a program (Linux 5.12, 9ed9e9ba2337); older kernels leave it 0.
fn left_out(program: &OwnedFd) -> u64 {
    let mut info = bpf_prog_info::default();
    let mut bytes = size_of::<bpf_prog_info>() as u32;
    // SAFETY: `info` is as long as `bytes` says, and without pointers nothing else is written.
    let error =
        unsafe { bpf_prog_get_info_by_fd(program.as_raw_fd(), &raw mut info, &raw mut bytes) };
    if error == 0 { info.recursion_misses } else { 0 }
}

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
