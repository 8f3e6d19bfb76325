//! Advice to the kernel about connections: off, or skip a body.
//!
//! The map `advices` is an array in shared memory, so that advice costs no
//! system call. A connection's slot is its id modulo the array's length; a later
//! connection may take the slot over, which costs an optimisation and nothing else.

use std::os::fd::{AsFd, AsRawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use libbpf_rs::MapHandle;

use crate::decode::{Policy, PolicyUpdate};
use crate::error::{Error, ErrorKind, Result};

/// ADVICE_SLOTS of `bpf/http_tracer.bpf.c`.
const SLOTS: u64 = 65536;

/// `struct advice`; index 0 of the arrays: received, 1: sent.
#[repr(C)]
struct Advice {
    connection: AtomicU64,
    skip_until: [u32; 2],
    skip: [u8; 2],
    off: u8,
    pipelined: u8,
    reserved: [u8; 4],
}

/// The map, in this process's memory.
#[derive(Debug)]
pub(crate) struct AdviceTable {
    slots: NonNull<Advice>,
    bytes: usize,
}

// SAFETY: the mapping belongs to this value alone on this side, and writing needs `&mut self`.
unsafe impl Send for AdviceTable {}

impl AdviceTable {
    pub(crate) fn map(map: &MapHandle) -> Result<Self> {
        const { assert!(size_of::<Advice>() == 24) };
        let bytes = usize::try_from(SLOTS).unwrap_or(0) * size_of::<Advice>();
        // SAFETY: a new shared mapping of a map's descriptor; the kernel checks its size.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_fd().as_raw_fd(),
                0,
            )
        };
        match NonNull::new(address.cast()) {
            Some(slots) if address != libc::MAP_FAILED => Ok(Self { slots, bytes }),
            _ => Err(Error::new(
                ErrorKind::Failed,
                "cannot map the table of advice",
                std::io::Error::last_os_error(),
                "free some memory and run again",
            )),
        }
    }

    /// Passes one piece of advice on; advice for the other direction is kept.
    pub(crate) fn give(&mut self, update: PolicyUpdate) {
        let index = usize::try_from(update.connection % SLOTS).unwrap_or(0);
        // SAFETY: the index is below SLOTS, so the slot lies in the mapping; the kernel
        // only reads it and checks `connection`, which is 0 while the rest changes.
        let slot = unsafe { self.slots.add(index).as_mut() };
        let same = slot.connection.swap(0, Ordering::AcqRel) == update.connection;
        fence(Ordering::SeqCst);
        if !same {
            slot.skip = [0; 2];
            slot.off = 0;
            slot.pipelined = 0;
        }
        match update.policy {
            Policy::Off => slot.off = 1,
            Policy::SendAll => slot.pipelined = 1,
            Policy::SkipUntil { sent, sequence } => {
                slot.skip_until[usize::from(sent)] = sequence;
                slot.skip[usize::from(sent)] = 1;
            }
        }
        slot.connection.store(update.connection, Ordering::Release);
    }
}

impl Drop for AdviceTable {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `map`, unmapped once.
        unsafe { libc::munmap(self.slots.as_ptr().cast(), self.bytes) };
    }
}
