//! Interfaces that come, go and change: rtnetlink says that something did, and then they are looked up anew.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::namespace::{Namespace, within};
use crate::error::{Error, ErrorKind, Result};

/// Links, and the routes that say which interfaces lead outside.
const GROUPS: i32 = libc::RTMGRP_LINK | libc::RTMGRP_IPV4_ROUTE | libc::RTMGRP_IPV6_ROUTE;

/// A socket that becomes readable when the interfaces of a network namespace change.
#[derive(Debug)]
pub(crate) struct LinkWatch(OwnedFd);

impl LinkWatch {
    /// Listens from now on.
    ///
    /// # Errors
    /// Those of entering the namespace and of opening sockets.
    pub(crate) fn new(namespace: &Namespace) -> Result<Self> {
        within(namespace, || listen().map(Self).map_err(failed))
    }

    /// Whether anything has changed since the last time; what exactly is not of interest.
    pub(crate) fn has_changed(&self) -> bool {
        let mut changed = false;
        let mut bytes = [0_u8; 8192];
        loop {
            // SAFETY: `bytes` is as long as is said.
            let received = unsafe {
                libc::recv(
                    self.0.as_raw_fd(),
                    bytes.as_mut_ptr().cast(),
                    bytes.len(),
                    libc::MSG_DONTWAIT,
                )
            };
            match received {
                0 => return changed,
                1.. => changed = true,
                _ => match std::io::Error::last_os_error().raw_os_error() {
                    // more has happened than the socket could hold
                    Some(libc::ENOBUFS) => changed = true,
                    Some(libc::EINTR) => {}
                    _ => return changed,
                },
            }
        }
    }
}

fn listen() -> std::io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: takes numbers only.
    let descriptor = unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) };
    if descriptor < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else has.
    let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
    // SAFETY: a struct of integers, for which zeros are valid.
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
    address.nl_groups = GROUPS.cast_unsigned();
    // SAFETY: the address is of the type and size that are said.
    let result = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of_val(&address) as libc::socklen_t,
        )
    };
    if result != 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(socket)
}

fn failed(cause: std::io::Error) -> Error {
    Error::new(
        ErrorKind::Failed,
        "cannot watch the network interfaces",
        cause,
        "raise the limit of open files: ulimit -n 4096",
    )
}
