//! Other people's XDP programs: they stay where they are.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use libbpf_rs::libbpf_sys;

use super::interface::InterfaceTarget;
use super::namespace::within;
use crate::error::{Error, ErrorKind};

/// The program by which libxdp runs several ones.
const DISPATCHER: &str = "xdp_dispatcher";

/// An XDP program that was there before.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ForeignProgram {
    pub(crate) id: u32,
    /// Empty where it cannot be asked for.
    pub(crate) name: String,
}

impl ForeignProgram {
    /// The one that is attached to an interface, in whatever mode.
    pub(crate) fn on(target: &InterfaceTarget) -> Option<Self> {
        let index = target.index.cast_signed();
        let id = within(&target.namespace, || Ok(attached_id(index))).ok()??;
        Some(Self {
            id,
            name: program_name(id).unwrap_or_default(),
        })
    }

    /// As messages call it.
    pub(crate) fn description(&self) -> String {
        match self.name.as_str() {
            "" => format!("the XDP program {}", self.id),
            DISPATCHER => format!("libxdp's dispatcher (program {})", self.id),
            name => format!("the XDP program {name} ({})", self.id),
        }
    }

    /// What is told where ingress is taken behind it.
    pub(crate) fn note(&self, interface: &str) -> String {
        format!(
            "{} is on {interface}: what comes in is seen at TC, behind it, without what it drops or redirects",
            self.description()
        )
    }

    /// What is told where a mode of XDP was asked for.
    pub(crate) fn error(&self, interface: &str) -> Error {
        Error::new(
            ErrorKind::Failed,
            format!("cannot attach XDP to {interface}"),
            format!("{} is attached there", self.description()),
            "leave --xdp-mode out: what comes in is then seen at TC, behind that program",
        )
    }
}

fn attached_id(index: i32) -> Option<u32> {
    let mut options = libbpf_sys::bpf_xdp_query_opts {
        sz: size_of::<libbpf_sys::bpf_xdp_query_opts>() as libbpf_sys::size_t,
        ..Default::default()
    };
    // SAFETY: `options` lives as long as the call and says its size.
    let result = unsafe { libbpf_sys::bpf_xdp_query(index, 0, &raw mut options) };
    let ids = [
        options.prog_id,
        options.drv_prog_id,
        options.skb_prog_id,
        options.hw_prog_id,
    ];
    ids.into_iter().find(|&id| result == 0 && id != 0)
}

fn program_name(id: u32) -> Option<String> {
    // SAFETY: takes a number only.
    let descriptor = unsafe { libbpf_sys::bpf_prog_get_fd_by_id(id) };
    if descriptor < 0 {
        return None;
    }
    // SAFETY: a new descriptor that nobody else has.
    let program = unsafe { OwnedFd::from_raw_fd(descriptor) };
    let mut info = libbpf_sys::bpf_prog_info::default();
    let mut length = size_of_val(&info) as u32;
    // SAFETY: `info` is as long as is said, and asks for no arrays.
    let result = unsafe {
        libbpf_sys::bpf_obj_get_info_by_fd(
            program.as_raw_fd(),
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    // SAFETY: the kernel ends names with 0 within their 16 bytes.
    let name = unsafe { CStr::from_ptr(info.name.as_ptr()) };
    (result == 0).then(|| name.to_string_lossy().into_owned())
}
