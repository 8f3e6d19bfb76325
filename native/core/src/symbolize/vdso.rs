//! The vDSO: an object without a file, the same in every process; copied from the own memory into one.

use std::fs::File;
use std::io::Write;
use std::os::fd::{FromRawFd, OwnedFd};

use super::objects::ObjectFile;

/// Never given to a file by [`super::Objects`].
pub(crate) const VDSO_ID: u32 = u32::MAX;
pub(crate) const VDSO_NAME: &str = "[vdso]";

/// The vDSO as an object; `None` where this process has none.
pub(crate) fn own() -> Option<ObjectFile> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let line = maps.lines().find(|line| line.ends_with(VDSO_NAME))?;
    let (start, end) = line.split(' ').next()?.split_once('-')?;
    let start = usize::from_str_radix(start, 16).ok()?;
    let end = usize::from_str_radix(end, 16).ok()?;
    // SAFETY: the kernel maps this range readable for as long as the process lives, and nobody writes to it.
    let bytes = unsafe { std::slice::from_raw_parts(start as *const u8, end - start) };
    Some(ObjectFile::in_memory(
        VDSO_ID,
        VDSO_NAME,
        memory_file(bytes)?,
    ))
}

fn memory_file(bytes: &[u8]) -> Option<File> {
    // SAFETY: the name is a C string that outlives the call.
    let descriptor = unsafe { libc::memfd_create(c"vdso".as_ptr(), libc::MFD_CLOEXEC) };
    if descriptor < 0 {
        return None;
    }
    // SAFETY: the call has just made this descriptor, nobody else owns it.
    let mut file = File::from(unsafe { OwnedFd::from_raw_fd(descriptor) });
    file.write_all(bytes).ok()?;
    Some(file)
}
