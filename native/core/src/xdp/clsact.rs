//! Attaching by a filter of the qdisc `clsact`, where the kernel has no TCX: it takes effect beside other filters,
//! and stays until somebody removes it, which is a guard's task.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use libbpf_rs::libbpf_sys::{
    self, BPF_TC_EGRESS, BPF_TC_INGRESS, bpf_tc_attach_point, bpf_tc_hook, bpf_tc_opts,
};

use super::guard::Guard;
use super::interface::InterfaceTarget;
use super::namespace::within;
use crate::error::{Error, ErrorKind, Result};

/// Of `clsact`: filters of what comes in, and of what goes out.
const PARENTS: [u32; 2] = [0xffff_fff2, 0xffff_fff3];
const NEW_FILTER: u16 = 44;
const GET_FILTERS: u16 = 46;
const HEADER_BYTES: usize = 16;
const REQUEST_BYTES: usize = HEADER_BYTES + 20;

/// A filter of ours; dropping it removes it, as does the end of this process.
#[derive(Debug)]
pub(crate) struct Filter {
    _guard: Guard,
}

/// Where a filter is.
#[derive(Clone, Copy, Debug)]
struct Place {
    interface: i32,
    point: bpf_tc_attach_point,
    handle: u32,
    priority: u32,
    /// The program, by which a filter of others in the same place is told apart.
    program: u32,
    made_qdisc: bool,
}

/// Attaches a program for a direction, beside whatever is there.
///
/// # Errors
/// Where the kernel refuses; nothing is left then.
pub(crate) fn attach(
    program: &impl AsRawFd,
    target: &InterfaceTarget,
    ingress: bool,
) -> Result<Filter> {
    let descriptor = program.as_raw_fd();
    let interface = target.index.cast_signed();
    let point = if ingress {
        BPF_TC_INGRESS
    } else {
        BPF_TC_EGRESS
    };
    let place = within(&target.namespace, || Ok(add(descriptor, interface, point)))?
        .map_err(|error| cannot_attach(target, &error))?;
    match Guard::start(target.namespace.as_deref(), || remove(&place)) {
        Ok(guard) => Ok(Filter { _guard: guard }),
        Err(error) => {
            within(&target.namespace, || {
                remove(&place);
                Ok(())
            })?;
            Err(error)
        }
    }
}

fn hook(interface: i32, point: bpf_tc_attach_point) -> bpf_tc_hook {
    bpf_tc_hook {
        sz: size_of::<bpf_tc_hook>() as libbpf_sys::size_t,
        ifindex: interface,
        attach_point: point,
        ..Default::default()
    }
}

fn options() -> bpf_tc_opts {
    bpf_tc_opts {
        sz: size_of::<bpf_tc_opts>() as libbpf_sys::size_t,
        ..Default::default()
    }
}

fn add(program: i32, interface: i32, point: bpf_tc_attach_point) -> std::io::Result<Place> {
    let mut hook = hook(interface, point);
    // SAFETY: `hook` and `filter` live as long as the calls and say their sizes.
    let made = unsafe { libbpf_sys::bpf_tc_hook_create(&raw mut hook) };
    if made != 0 && made != -libc::EEXIST {
        return Err(std::io::Error::from_raw_os_error(-made));
    }
    let mut filter = bpf_tc_opts {
        prog_fd: program,
        ..options()
    };
    // SAFETY: as above.
    let result = unsafe { libbpf_sys::bpf_tc_attach(&raw const hook, &raw mut filter) };
    let place = Place {
        interface,
        point,
        handle: filter.handle,
        priority: filter.priority,
        program: filter.prog_id,
        made_qdisc: made == 0,
    };
    if result != 0 {
        remove_qdisc(&place);
        return Err(std::io::Error::from_raw_os_error(-result));
    }
    Ok(place)
}

/// Removes our filter and, where we made it and nobody else uses it, the qdisc.
fn remove(place: &Place) {
    let hook = hook(place.interface, place.point);
    let named = bpf_tc_opts {
        handle: place.handle,
        priority: place.priority,
        ..options()
    };
    let mut found = named;
    // SAFETY: the structs live as long as the calls and say their sizes.
    unsafe {
        let result = libbpf_sys::bpf_tc_query(&raw const hook, &raw mut found);
        if result == 0 && found.prog_id == place.program {
            libbpf_sys::bpf_tc_detach(&raw const hook, &raw const named);
        }
    }
    remove_qdisc(place);
}

fn remove_qdisc(place: &Place) {
    let is_used = |parent| has_filters(place.interface, parent).unwrap_or(true);
    if place.made_qdisc && !PARENTS.into_iter().any(is_used) {
        let mut both = hook(place.interface, BPF_TC_INGRESS | BPF_TC_EGRESS);
        // SAFETY: the struct lives as long as the call and says its size.
        unsafe { libbpf_sys::bpf_tc_hook_destroy(&raw mut both) };
    }
}

/// Whether there is any filter below a parent of the interface.
fn has_filters(interface: i32, parent: u32) -> std::io::Result<bool> {
    let socket = netlink()?;
    let request = request(interface, parent);
    let mut answer = [0u8; 16384];
    // SAFETY: the buffers live as long as the calls and are as long as is said.
    unsafe {
        let sent = libc::send(
            socket.as_raw_fd(),
            request.as_ptr().cast(),
            request.len(),
            0,
        );
        if sent < 0 {
            return Err(std::io::Error::last_os_error());
        }
        let received = libc::recv(
            socket.as_raw_fd(),
            answer.as_mut_ptr().cast(),
            answer.len(),
            0,
        );
        if received < 0 {
            return Err(std::io::Error::last_os_error());
        }
    }
    // the first message tells: a filter, or that there is none
    Ok(u16::from_ne_bytes([answer[4], answer[5]]) == NEW_FILTER)
}

fn netlink() -> std::io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: takes numbers only.
    let socket = unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) };
    if socket < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(socket) })
}

/// `struct nlmsghdr` and `struct tcmsg`: all filters below a parent.
fn request(interface: i32, parent: u32) -> [u8; REQUEST_BYTES] {
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
    let mut bytes = [0; REQUEST_BYTES];
    bytes[..4].copy_from_slice(&(REQUEST_BYTES as u32).to_ne_bytes());
    bytes[4..6].copy_from_slice(&GET_FILTERS.to_ne_bytes());
    bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
    bytes[20..24].copy_from_slice(&interface.to_ne_bytes());
    bytes[28..32].copy_from_slice(&parent.to_ne_bytes());
    bytes
}

fn cannot_attach(target: &InterfaceTarget, error: &std::io::Error) -> Error {
    let kind = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => ErrorKind::Privilege,
        _ => ErrorKind::Kernel,
    };
    Error::new(
        kind,
        format!("cannot attach TC to {}", target.name),
        error,
        format!("tc qdisc show dev {} shows what is in the way", target.name),
    )
}
