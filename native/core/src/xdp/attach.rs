//! Attaching programs to an interface by links, which the kernel takes away with the tracer, however it ends; and
//! where it has no such links, by filters, which a guard takes away.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use libbpf_rs::libbpf_sys;

use super::clsact;
use super::interface::InterfaceTarget;
use super::namespace::within;
use super::settings::Mode;
use crate::error::{Error, ErrorKind, Result};
use crate::socket_adapter::FORCED;

const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

/// Attaches an XDP program in the wanted mode and no other.
pub(crate) fn xdp(program: &impl AsRawFd, target: &InterfaceTarget, mode: Mode) -> Result<Hold> {
    let flags = match mode {
        Mode::Native => XDP_FLAGS_DRV_MODE,
        Mode::Generic => XDP_FLAGS_SKB_MODE,
    };
    let create = |descriptor| link(descriptor, target.index, libbpf_sys::BPF_XDP, flags);
    attach(program, target, create)
        .map(Hold::Link)
        .map_err(|error| xdp_error(target, mode, &error))
}

/// What holds a program at its place; dropping it detaches.
#[derive(Debug)]
pub(crate) enum Hold {
    Link(#[expect(dead_code, reason = "held, not used")] OwnedFd),
    Filter(#[expect(dead_code, reason = "held, not used")] clsact::Filter),
}

/// Attaches a TC program for a direction, beside whatever is there: by TCX, or where the kernel has none by clsact.
///
/// # Errors
/// Where the kernel refuses both.
pub(crate) fn tc(program: &impl AsRawFd, target: &InterfaceTarget, ingress: bool) -> Result<Hold> {
    if !is_clsact_forced() {
        match tcx(program, target, ingress) {
            Ok(link) => return Ok(Hold::Link(link)),
            // a kernel that does not know this kind of link
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
            Err(error) => {
                return Err(refused(
                    format!("cannot attach TC to {}", target.name),
                    &error,
                    "bpftool net shows what is attached",
                ));
            }
        }
    }
    clsact::attach(program, target, ingress).map(Hold::Filter)
}

/// For tests and comparisons.
fn is_clsact_forced() -> bool {
    let forced = std::env::var(FORCED).unwrap_or_default();
    forced.split(',').any(|word| word == "egress=clsact")
}

fn tcx(
    program: &impl AsRawFd,
    target: &InterfaceTarget,
    ingress: bool,
) -> std::io::Result<OwnedFd> {
    let kind = if ingress {
        libbpf_sys::BPF_TCX_INGRESS
    } else {
        libbpf_sys::BPF_TCX_EGRESS
    };
    let create = |descriptor| link(descriptor, target.index, kind, 0);
    attach(program, target, create)
}

fn attach(
    program: &impl AsRawFd,
    target: &InterfaceTarget,
    create: impl FnOnce(i32) -> std::io::Result<OwnedFd> + Send,
) -> std::io::Result<OwnedFd> {
    let descriptor = program.as_raw_fd();
    within(&target.namespace, || Ok(create(descriptor)))
        .unwrap_or_else(|error| Err(std::io::Error::other(error)))
}

fn link(program: i32, interface: u32, kind: u32, flags: u32) -> std::io::Result<OwnedFd> {
    let options = libbpf_sys::bpf_link_create_opts {
        sz: size_of::<libbpf_sys::bpf_link_create_opts>() as libbpf_sys::size_t,
        flags,
        ..Default::default()
    };
    // SAFETY: `options` lives as long as the call and says its size.
    let descriptor = unsafe {
        libbpf_sys::bpf_link_create(program, interface.cast_signed(), kind, &raw const options)
    };
    if descriptor < 0 {
        return Err(std::io::Error::from_raw_os_error(-descriptor));
    }
    // SAFETY: a new descriptor that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn xdp_error(target: &InterfaceTarget, mode: Mode, error: &std::io::Error) -> Error {
    let name = &target.name;
    match error.raw_os_error() {
        Some(libc::EOPNOTSUPP) if mode == Mode::Native => Error::new(
            ErrorKind::Kernel,
            format!("{name} has no native XDP"),
            "its driver does not support it",
            "use --xdp-mode generic",
        ),
        Some(libc::EBUSY | libc::EEXIST) => Error::new(
            ErrorKind::Failed,
            format!("cannot attach XDP to {name}"),
            "another XDP program is attached there",
            format!("ip -details link show dev {name} names it"),
        ),
        _ => refused(
            format!("cannot attach XDP to {name}"),
            error,
            "use --xdp-mode generic",
        ),
    }
}

fn refused(what: String, error: &std::io::Error, hint: &str) -> Error {
    if matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES)) {
        return Error::new(
            ErrorKind::Privilege,
            what,
            error,
            "run as root, or with CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN",
        );
    }
    Error::new(ErrorKind::Kernel, what, error, hint)
}
