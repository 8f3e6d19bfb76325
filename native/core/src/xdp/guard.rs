//! A small process that undoes something when the tracer is gone, however it ends: filters of TC outlive their owner.
//!
//! It waits for the end of a pipe of which the tracer has the other side. It is a fork without `exec`: it holds
//! nothing but its pipe and a network namespace, hears no signal but SIGKILL, and is in no terminal's session.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::error::{Error, ErrorKind, Result};

const PIPE: libc::c_int = 3;
const NAMESPACE: libc::c_int = 4;
const NAME: &std::ffi::CStr = c"ut-guard";

/// The tracer's side; dropping it lets the guard act, and waits until it has.
#[derive(Debug)]
pub(crate) struct Guard {
    pipe: Option<OwnedFd>,
    process: libc::pid_t,
}

impl Guard {
    /// Forks the process that will call `undo` once, in the network namespace.
    ///
    /// `undo` runs in a copy of this process in which no other thread exists: it may allocate, but must not wait for
    /// anything that another thread holds.
    ///
    /// # Errors
    /// Where there is no room for another process or descriptor.
    pub(crate) fn start(namespace: Option<&OwnedFd>, undo: impl FnOnce()) -> Result<Self> {
        let (reading, writing) = pipe().map_err(|error| cannot_guard(&error))?;
        // SAFETY: the child goes on in `watch`, which never returns.
        match unsafe { libc::fork() } {
            0 => watch(&reading, namespace, undo),
            process if process > 0 => Ok(Self {
                pipe: Some(writing),
                process,
            }),
            _ => Err(cannot_guard(&std::io::Error::last_os_error())),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.pipe = None;
        // SAFETY: a child of this process that nobody else waits for; its status is not wanted.
        while unsafe { libc::waitpid(self.process, std::ptr::null_mut(), 0) } < 0
            && std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted
        {}
    }
}

fn pipe() -> std::io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: the call writes two numbers, which live here.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: new descriptors that nobody else has.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// The guard's whole life.
fn watch(pipe: &OwnedFd, namespace: Option<&OwnedFd>, undo: impl FnOnce()) -> ! {
    // SAFETY: calls with numbers and with memory that lives here. From here on this copy of the process has no
    // descriptor of the tracer's: neither its links, which would stay attached, nor its output, which would stay open.
    unsafe {
        libc::setsid();
        let mut every = std::mem::zeroed::<libc::sigset_t>();
        libc::sigfillset(&raw mut every);
        libc::sigprocmask(libc::SIG_BLOCK, &raw const every, std::ptr::null_mut());
        libc::prctl(libc::PR_SET_NAME, NAME.as_ptr());
        // beyond the two numbers, so that neither is overwritten before it is copied
        let pipe = libc::fcntl(pipe.as_raw_fd(), libc::F_DUPFD, NAMESPACE + 1);
        let namespace =
            namespace.map(|one| libc::fcntl(one.as_raw_fd(), libc::F_DUPFD, NAMESPACE + 1));
        libc::dup2(pipe, PIPE);
        if let Some(namespace) = namespace {
            libc::dup2(namespace, NAMESPACE);
        } else {
            libc::close(NAMESPACE);
        }
        libc::syscall(libc::SYS_close_range, 0, PIPE - 1, 0);
        libc::syscall(libc::SYS_close_range, NAMESPACE + 1, libc::c_uint::MAX, 0);
        let mut nothing = 0u8;
        while libc::read(PIPE, (&raw mut nothing).cast(), 1) < 0
            && *libc::__errno_location() == libc::EINTR
        {}
        if namespace.is_none() || libc::setns(NAMESPACE, libc::CLONE_NEWNET) == 0 {
            libbpf_rs::libbpf_sys::libbpf_set_print(None);
            undo();
        }
        libc::_exit(0)
    }
}

fn cannot_guard(error: &std::io::Error) -> Error {
    Error::new(
        ErrorKind::Failed,
        "cannot start the process that removes filters at the end",
        error,
        "raise the limits of processes and open files",
    )
}
