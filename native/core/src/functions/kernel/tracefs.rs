//! What the kernel says of its tracing, in files (tracefs).
//!
//! Where nobody has mounted them they are opened all the same, in a mount that no directory leads to: nothing of the
//! machine changes, and the kernel drops it with its descriptor.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

const PLACES: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];
const FSCONFIG_CMD_CREATE: libc::c_ulong = 6;

/// The files, for as long as this lives.
#[derive(Debug)]
pub(super) struct TraceFs {
    root: PathBuf,
    _mount: Option<OwnedFd>,
}

impl TraceFs {
    /// `None` without the right to see them, or in a kernel without.
    pub(super) fn open() -> Option<Self> {
        // only mounted has it this file, only root may look
        let is_there = |place: &&&str| Path::new(place).join("events").is_dir();
        if let Some(place) = PLACES.iter().find(is_there) {
            return Some(Self {
                root: PathBuf::from(place),
                _mount: None,
            });
        }
        let mount = detached_mount()?;
        Some(Self {
            root: PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd())),
            _mount: Some(mount),
        })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

fn detached_mount() -> Option<OwnedFd> {
    // SAFETY: the name is a C string that outlives the call.
    let context = unsafe { libc::syscall(libc::SYS_fsopen, c"tracefs".as_ptr(), 1u32) };
    let context = owned(context)?;
    // SAFETY: this command takes neither key nor value.
    let created = unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            context.as_raw_fd(),
            FSCONFIG_CMD_CREATE,
            std::ptr::null::<libc::c_char>(),
            std::ptr::null::<libc::c_void>(),
            0,
        )
    };
    if created != 0 {
        return None;
    }
    // SAFETY: numbers only.
    owned(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), 1u32, 0u32) })
}

/// What a call returned that makes a descriptor.
fn owned(descriptor: libc::c_long) -> Option<OwnedFd> {
    let descriptor = i32::try_from(descriptor)
        .ok()
        .filter(|&number| number >= 0)?;
    // SAFETY: the call has just made this descriptor, nobody else owns it.
    Some(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
