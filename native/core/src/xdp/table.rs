//! The kernel's flow table in this process's memory: read in place, freed in three steps.
//!
//! See `bpf/include/xdp_table.h` for the life of an entry. Counters only grow while an entry lives, so that reading
//! loses nothing; what is freed was marked before, and no program run that could hold it is left.

use std::os::fd::{AsFd, AsRawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use libbpf_rs::{MapCore, MapHandle};

use super::records::{FlowEntry, FlowSet};
use super::settings::SET_PLACES;
use crate::error::{Error, ErrorKind, Result};

const FREE: u8 = 0;
const CLAIMED: u8 = 1;
/// No packet finds the entry any more.
pub(crate) const OVER: u8 = 2;

/// A memory-mapped array of the kernel.
#[derive(Debug)]
pub(crate) struct MappedArray {
    start: NonNull<u8>,
    bytes: usize,
    stride: usize,
}

// SAFETY: the mapping is shared with the kernel anyway; all access is by volatile or atomic operations.
unsafe impl Send for MappedArray {}
// SAFETY: as above.
unsafe impl Sync for MappedArray {}

impl MappedArray {
    /// Maps all of an array map that was made with `BPF_F_MMAPABLE`.
    pub(crate) fn map(map: &MapHandle) -> Result<Self> {
        let stride = (map.value_size() as usize).next_multiple_of(8);
        let bytes = stride * map.max_entries() as usize;
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
            Some(start) if address != libc::MAP_FAILED => Ok(Self {
                start,
                bytes,
                stride,
            }),
            _ => Err(Error::new(
                ErrorKind::Failed,
                "cannot map the flow table",
                std::io::Error::last_os_error(),
                "free some memory, or make it smaller: --flow-table-size 16384",
            )),
        }
    }

    /// The address of an element; panics beyond the end.
    fn at(&self, index: usize) -> *mut u8 {
        assert!((index + 1) * self.stride <= self.bytes, "beyond the map");
        // SAFETY: within the mapping, as was just checked.
        unsafe { self.start.as_ptr().add(index * self.stride) }
    }

    /// A copy of an element, as it is at this moment.
    pub(crate) fn read<T: Copy>(&self, index: usize) -> T {
        assert!(size_of::<T>() <= self.stride);
        // SAFETY: within the element; T is one of the structs of integers, for which every bit pattern is valid.
        unsafe { self.at(index).cast::<T>().read_volatile() }
    }

    /// A word of an element.
    pub(crate) fn word(&self, index: usize, offset: usize) -> &AtomicU64 {
        assert!(offset + 8 <= self.stride && offset.is_multiple_of(8));
        // SAFETY: within the element and aligned; everybody changes it by atomic operations only.
        unsafe { AtomicU64::from_ptr(self.at(index).add(offset).cast()) }
    }

    fn clear(&self, index: usize) {
        // SAFETY: within the mapping.
        unsafe { self.at(index).write_bytes(0, self.stride) };
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes / self.stride
    }
}

impl Drop for MappedArray {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `map`, unmapped once.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

/// The flow table of a session.
#[derive(Debug)]
pub(crate) struct FlowTable {
    sets: MappedArray,
    entries: MappedArray,
    used: MappedArray,
}

/// The number of an entry.
pub(crate) type Slot = usize;

impl FlowTable {
    pub(crate) fn map(sets: &MapHandle, entries: &MapHandle, used: &MapHandle) -> Result<Self> {
        Ok(Self {
            sets: MappedArray::map(sets)?,
            entries: MappedArray::map(entries)?,
            used: MappedArray::map(used)?,
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
