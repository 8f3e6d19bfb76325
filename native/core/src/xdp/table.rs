//! The kernel's flow table in this process's memory: read in place, freed in three steps.
//!
//! See `bpf/include/xdp_table.h` for the life of an entry. Counters only grow while an entry lives, so that reading
//! loses nothing; what is freed was marked before, and no program run that could hold it is left.

use std::sync::atomic::{AtomicU64, Ordering};

use libbpf_rs::MapHandle;

use super::records::{FlowEntry, FlowSet};
use super::settings::SET_PLACES;
use crate::error::Result;
use crate::mapped_array::MappedArray;

const FREE: u8 = 0;
const CLAIMED: u8 = 1;
/// No packet finds the entry any more.
pub(crate) const OVER: u8 = 2;

/// The flow table of a session.
#[derive(Debug)]
pub(crate) struct FlowTable {
    sets: MappedArray,
    entries: MappedArray,
    used: MappedArray,
}

/// Maps a table whose size `--flow-table-size` decides.
pub(super) fn map(map: &MapHandle) -> Result<MappedArray> {
    let hint = "free some memory, or make it smaller: --flow-table-size 16384";
    MappedArray::map(map, "cannot map the flow table", hint)
}

/// The number of an entry.
pub(crate) type Slot = usize;

impl FlowTable {
    pub(crate) fn map(sets: &MapHandle, entries: &MapHandle, used: &MapHandle) -> Result<Self> {
        Ok(Self {
            sets: map(sets)?,
            entries: map(entries)?,
            used: map(used)?,
        })
    }

    pub(crate) fn slots(&self) -> usize {
        self.entries.len()
    }

    /// Calls `visit` for every entry that is filled: its slot, and whether it is over.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(Slot, bool)) {
        for set in 0..self.sets.len() {
            let places = self.places(set).load(Ordering::Acquire);
            if places == 0 {
                continue;
            }
            for (place, byte) in places.to_le_bytes().into_iter().enumerate() {
                if byte != FREE && byte != CLAIMED {
                    visit(set * SET_PLACES as usize + place, byte == OVER);
                }
            }
        }
    }

    pub(crate) fn entry(&self, slot: Slot) -> FlowEntry {
        self.entries.read(slot)
    }

    /// Takes the entry away from packets; what they add is final after [`wait_for_programs`].
    pub(crate) fn mark_over(&self, slot: Slot) {
        let (set, shift) = position(slot);
        let change = |places: u64| {
            let place = (places >> shift) & 0xff;
            (place > u64::from(OVER)).then(|| places - ((place - u64::from(OVER)) << shift))
        };
        // an error: a program was faster, the entry is over already
        let _ = self
            .places(set)
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, change);
    }

    /// Gives an entry that is over back; `directions` of it were in use.
    pub(crate) fn free(&self, slot: Slot, directions: u64) {
        let (set, shift) = position(slot);
        self.entries.clear(slot);
        self.places(set)
            .fetch_sub(u64::from(OVER) << shift, Ordering::SeqCst);
        self.used.word(0, 0).fetch_sub(directions, Ordering::SeqCst);
    }

    /// Directions of conversations in the table.
    pub(crate) fn used(&self) -> u64 {
        self.used.word(0, 0).load(Ordering::Relaxed)
    }

    fn places(&self, set: usize) -> &AtomicU64 {
        self.sets.word(set, std::mem::offset_of!(FlowSet, places))
    }
}

fn position(slot: Slot) -> (usize, u32) {
    let places = SET_PLACES as usize;
    let place = u32::try_from(slot % places).unwrap_or(0);
    (slot / places, place * 8)
}

/// Returns when every program run that had begun has ended: `synchronize_rcu()`, by way of `membarrier`.
pub(crate) fn wait_for_programs() {
    const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;
    // SAFETY: takes numbers only.
    let failed = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) } != 0;
    if failed {
        // kernels with CPUs that are never interrupted; a program run takes microseconds
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}
