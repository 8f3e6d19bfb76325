//! How functions of programs are reached on this kernel, by trying it on this program itself.
//!
//! `UNIVERSAL_TRACER_ADAPTERS=functions=perf_event` takes the way that is named, for tests and comparisons.

use std::ffi::CString;
use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use libbpf_rs::libbpf_sys;

const FORCED: &str = "UNIVERSAL_TRACER_ADAPTERS";

/// The best first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum UserAdapter {
    /// Many functions at once, and what the entry knew is there at the return (Linux 6.13).
    Session,
    /// Many functions at once (Linux 6.6).
    Multi,
    /// A perf event for each place.
    PerfEvent,
}

impl UserAdapter {
    const ALL: [Self; 3] = [Self::Session, Self::Multi, Self::PerfEvent];

    /// As plans call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Session => "uprobe.session",
            Self::Multi => "uprobe.multi",
            Self::PerfEvent => "uprobe",
        }
    }

    fn switch(self) -> &'static str {
        match self {
            Self::Session => "functions=session",
            Self::Multi => "functions=multi",
            Self::PerfEvent => "functions=perf_event",
        }
    }

    /// The best that this kernel can do; trying has no effect on anybody else, and none that lasts.
    pub(crate) fn choose() -> Self {
        let forced = std::env::var(FORCED).unwrap_or_default();
        let by_name = |adapter: &Self| forced.split(',').any(|word| word == adapter.switch());
        if let Some(adapter) = Self::ALL.into_iter().find(by_name) {
            return adapter;
        }
        Self::ALL
            .into_iter()
            .find(|adapter| adapter.works())
            .unwrap_or(Self::PerfEvent)
    }

    fn works(self) -> bool {
        let kind = match self {
            Self::Session => libbpf_sys::BPF_TRACE_UPROBE_SESSION,
            Self::Multi => libbpf_sys::BPF_TRACE_UPROBE_MULTI,
            Self::PerfEvent => return true,
        };
        try_here(kind).is_some()
    }
}

/// A place to try on: of this process alone, and never called.
#[inline(never)]
extern "C" fn place_to_try() -> u32 {
    std::hint::black_box(7)
}

/// Links an empty program to a function of this process, for this process, and takes it away again.
fn try_here(attach_type: libbpf_sys::bpf_attach_type) -> Option<()> {
    let (path, offset) = own_place()?;
    let program = load_empty(attach_type)?;
    let mut options = libbpf_sys::bpf_link_create_opts {
        sz: size_of::<libbpf_sys::bpf_link_create_opts>() as libbpf_sys::size_t,
        ..Default::default()
    };
    options.__bindgen_anon_1.uprobe_multi.path = path.as_ptr();
    options.__bindgen_anon_1.uprobe_multi.offsets = &raw const offset;
    options.__bindgen_anon_1.uprobe_multi.cnt = 1;
    options.__bindgen_anon_1.uprobe_multi.pid = std::process::id();
    // SAFETY: path and offset outlive the call; the program's descriptor is open.
    let link = unsafe {
        libbpf_sys::bpf_link_create(program.as_raw_fd(), 0, attach_type, &raw const options)
    };
    // SAFETY: the call has just made this descriptor, nobody else owns it.
    (link >= 0).then(|| drop(unsafe { OwnedFd::from_raw_fd(link) }))
}

/// `return 0`.
fn load_empty(attach_type: libbpf_sys::bpf_attach_type) -> Option<OwnedFd> {
    let instruction = |code: u8| libbpf_sys::bpf_insn {
        code,
        ..Default::default()
    };
    let program = [instruction(0xb7), instruction(0x95)];
    let mut options = libbpf_sys::bpf_prog_load_opts {
        sz: size_of::<libbpf_sys::bpf_prog_load_opts>() as libbpf_sys::size_t,
        expected_attach_type: attach_type,
        ..Default::default()
    };
    // SAFETY: the instructions, the licence and the options outlive the call.
    let descriptor = unsafe {
        libbpf_sys::bpf_prog_load(
            libbpf_sys::BPF_PROG_TYPE_KPROBE,
            c"ut_try".as_ptr(),
            c"Dual BSD/GPL".as_ptr(),
            program.as_ptr(),
            program.len() as libbpf_sys::size_t,
            &raw mut options,
        )
    };
    // SAFETY: the call has just made this descriptor, nobody else owns it.
    (descriptor >= 0).then(|| unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// The file that holds [`place_to_try`], and where.
pub(super) fn own_place() -> Option<(CString, libbpf_sys::__u64)> {
    let address = place_to_try as *const () as u64;
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines().find_map(|line| {
        let mut parts = line.splitn(6, ' ');
        let (start, end) = parts.next()?.split_once('-')?;
        let hexadecimal = |text| u64::from_str_radix(text, 16).ok();
        let (start, end) = (hexadecimal(start)?, hexadecimal(end)?);
        let offset = hexadecimal(parts.nth(1)?)?;
        let path = parts.nth(2)?.trim_start();
        ((start..end).contains(&address))
            .then(|| Some((CString::new(path).ok()?, address - start + offset)))?
    })
}

#[cfg(test)]
mod tests {
    use super::{UserAdapter, own_place};

    #[test]
    fn the_own_place_is_in_the_own_file() {
        let (path, offset) = own_place().expect("it is mapped");
        let own = std::env::current_exe().expect("this program");
        assert_eq!(path.to_str().ok(), own.to_str());
        assert!(offset > 0);
    }

    #[test]
    fn each_way_has_a_name() {
        let names = UserAdapter::ALL.map(UserAdapter::name);
        assert_eq!(names, ["uprobe.session", "uprobe.multi", "uprobe"]);
    }
}
