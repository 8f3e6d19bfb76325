//! Doing something in another network namespace: by a thread that enters it and ends.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};

/// A network namespace; `None` is the tracer's own.
pub type Namespace = Option<Arc<OwnedFd>>;

/// Runs `action` in the namespace.
///
/// # Errors
/// Those of `action`; [`ErrorKind::Privilege`] where the namespace may not be entered.
pub fn within<T: Send>(
    namespace: &Namespace,
    action: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    let Some(namespace) = namespace else {
        return action();
    };
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                enter(namespace)?;
                action()
            })
            .join()
            .unwrap_or_else(|_| Err(failed("it stopped unexpectedly")))
    })
}

fn enter(namespace: &OwnedFd) -> Result<()> {
    // SAFETY: a descriptor that lives as long as the call; only this thread changes its namespace.
    if unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } == 0 {
        return Ok(());
    }
    let error = std::io::Error::last_os_error();
    let kind = match error.raw_os_error() {
        Some(libc::EPERM) => ErrorKind::Privilege,
        _ => ErrorKind::Failed,
    };
    Err(Error::new(
        kind,
        "cannot enter the network namespace",
        error,
        "run as root, or with CAP_SYS_ADMIN",
    ))
}

fn failed(cause: impl ToString) -> Error {
    Error::new(
        ErrorKind::Failed,
        "cannot work in the network namespace",
        cause,
        "run again with -v and report it",
    )
}

/// The network namespace of a process.
///
/// # Errors
/// [`ErrorKind::Target`] where the process is gone.
pub fn of_process(pid: u32) -> Result<Namespace> {
    let file = File::open(format!("/proc/{pid}/ns/net")).map_err(|error| {
        Error::new(
            ErrorKind::Target,
            format!("cannot find the network of process {pid}"),
            error,
            "ps -e lists the processes that run",
        )
    })?;
    Ok(Some(Arc::new(OwnedFd::from(file))))
}
