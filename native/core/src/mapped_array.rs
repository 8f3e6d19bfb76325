//! Array maps of the kernel in this process's memory: no system call reads or writes them.

use std::os::fd::{AsFd, AsRawFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use libbpf_rs::{MapCore, MapHandle};

use crate::error::{Error, ErrorKind, Result};

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
    ///
    /// # Errors
    /// `what` and `hint`, where the kernel refuses.
    pub(crate) fn map(map: &MapHandle, what: &str, hint: &str) -> Result<Self> {
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
                what,
                std::io::Error::last_os_error(),
                hint,
            )),
        }
    }

    /// The address of an element; panics beyond the end.
    pub(crate) fn at(&self, index: usize) -> *mut u8 {
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

    /// Makes all of an element 0.
    pub(crate) fn clear(&self, index: usize) {
        // SAFETY: within the mapping.
        unsafe { self.at(index).write_bytes(0, self.stride) };
    }

    /// Elements.
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
