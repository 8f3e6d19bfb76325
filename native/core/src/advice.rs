//! Advice to the kernel about connections: off, or skip a body.
//!
//! The map `advices` is an array in shared memory, so that advice costs no
//! system call. A connection's slot is its id modulo the array's length; a later
//! connection may take the slot over, which costs an optimisation and nothing else.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use libbpf_rs::MapHandle;

use crate::decode::{Policy, PolicyUpdate};
use crate::error::Result;
use crate::mapped_array::MappedArray;

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
    slots: MappedArray,
}

impl AdviceTable {
    pub(crate) fn map(map: &MapHandle) -> Result<Self> {
        const { assert!(size_of::<Advice>() == 24) };
        let hint = "free some memory and run again";
        let slots = MappedArray::map(map, "cannot map the table of advice", hint)?;
        Ok(Self { slots })
    }

    /// Passes one piece of advice on; advice for the other direction is kept.
    pub(crate) fn give(&mut self, update: PolicyUpdate) {
        let index = usize::try_from(update.connection % SLOTS).unwrap_or(0);
        // SAFETY: an element of the map, which nobody else writes while there is `&mut self`; the kernel only
        // reads it and checks `connection`, which is 0 while the rest changes.
        let slot = unsafe { &mut *self.slots.at(index).cast::<Advice>() };
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
