//! Tries the packet tracer's programs: on the loopback interface of a network namespace of their own.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;

use libbpf_rs::{Link, MapCore, MapFlags, Object, OpenObject, ProgramInput, libbpf_sys};

use super::clock::TickClock;
use super::clsact;
use super::interface::InterfaceTarget;
use super::load::{EGRESS_TC, INGRESS_TC, INGRESS_XDP};
use super::records::{self, KernelSettings};
use super::settings::XdpSettings;
use crate::error::{Error, ErrorKind, Result};
use crate::layout;
use crate::object::{self, map_handle};
use crate::plan::PlannedHook;
use crate::trial::{Candidate, Trial, try_hooks};

const HOOKS: [PlannedHook; 3] = [
    hook("ingress", "xdp", INGRESS_XDP, "what an interface receives"),
    hook(
        "ingress beside others",
        "tc",
        INGRESS_TC,
        "what an interface receives, where another XDP program is",
    ),
    hook("egress", "tc", EGRESS_TC, "what an interface sends"),
];
const LOOPBACK: i32 = 1;
/// A frame of no known type.
const FRAME: [u8; 60] = [0xff; 60];

const fn hook(
    hook: &'static str,
    adapter: &'static str,
    program: &'static str,
    why: &'static str,
) -> PlannedHook {
    PlannedHook {
        tracer: "xdp",
        hook,
        adapter,
        why,
        cost: "below 0.1 µs per packet",
        program,
    }
}

/// Tries the packet tracer; the interfaces of the settings are not touched.
///
/// # Errors
/// Where nothing can be tried at all: an object of another version.
pub fn try_xdp(settings: XdpSettings) -> Result<Trial> {
    layout::check(&settings.object_path, &records::layouts())?;
    let wanted = HOOKS
        .into_iter()
        .filter(|hook| settings.egress || hook.program != EGRESS_TC);
    let sockets = super::sockets::hooks(settings.filter.enabled)?;
    let hooks = wanted.chain(sockets).map(|hook| (hook, None)).collect();
    try_hooks(&XdpCandidate(settings), hooks)
}

struct XdpCandidate(XdpSettings);

/// What keeps a program attached.
enum Held {
    Link(#[expect(dead_code, reason = "held, not used")] Link),
    Filter(#[expect(dead_code, reason = "held, not used")] clsact::Filter),
}

impl Candidate for XdpCandidate {
    type Held = Held;
    const CANNOT_LOAD: &'static str = super::load::WHAT;

    fn open(&self) -> Result<OpenObject> {
        let cpus = libbpf_rs::num_possible_cpus().unwrap_or(1);
        let cpus = u32::try_from(cpus).unwrap_or(u32::MAX);
        let constants = KernelSettings {
            has_link_header: 1,
            is_generic: 1,
            has_fragments: 1,
            ..self.0.kernel(1, TickClock::per_second(), cpus)
        };
        let mut open = object::open_bytes(&super::load::bytes(&self.0)?, Self::CANNOT_LOAD)?;
        object::set_settings(&mut open, &constants.to_bytes())?;
        for (name, entries) in self.0.map_sizes(cpus) {
            object::set_map_size(&mut open, name, entries)?;
        }
        Ok(open)
    }

    fn attach(&self, object: &Object, hook: &PlannedHook) -> Result<Held> {
        if HOOKS.iter().all(|packets| packets.program != hook.program) {
            return object::attach(object, hook).map(Held::Link);
        }
        let _elsewhere = OwnNamespace::enter()?;
        let failed = |error: &libbpf_rs::Error| {
            Error::from_bpf(
                format!("cannot attach by {}", hook.adapter),
                error,
                &crate::verifier_log::take(),
            )
        };
        let program = object
            .progs_mut()
            .find(|program| program.name() == hook.program)
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::Failed,
                    "no such program",
                    hook.program,
                    "install the package again",
                )
            })?;
        if hook.program == INGRESS_XDP {
            return program
                .attach_xdp(LOOPBACK)
                .map(Held::Link)
                .map_err(|error| failed(&error));
        }
        let ingress = hook.program == INGRESS_TC;
        match tcx(&program, ingress) {
            Err(error) if error.kind() == libbpf_rs::ErrorKind::InvalidInput => {
                let here = Some(Arc::new(own_namespace()?));
                let target = InterfaceTarget::find("lo", &here)?;
                clsact::attach(&program.as_fd(), &target, ingress).map(Held::Filter)
            }
            result => result.map(Held::Link).map_err(|error| failed(&error)),
        }
    }

    fn exercise(&self, object: &Object) -> Result<()> {
        let what = "the packet tracer does not see a packet of its own";
        let failed = |cause: &dyn std::fmt::Display| {
            Error::new(ErrorKind::Kernel, what, cause, "universal-tracer doctor -v")
        };
        let program = object
            .progs_mut()
            .find(|program| program.name() == INGRESS_XDP)
            .ok_or_else(|| failed(&"no such program in the object"))?;
        let input = ProgramInput {
            data_in: Some(&FRAME),
            ..ProgramInput::default()
        };
        program.test_run(input).map_err(|error| failed(&error))?;
        let ledgers = map_handle(object, "ledgers")?;
        let has_run = (0..ledgers.max_entries()).any(|index| {
            let record = ledgers.lookup(&index.to_ne_bytes(), MapFlags::ANY);
            record.is_ok_and(|bytes| {
                bytes.is_some_and(|bytes| bytes.iter().take(8).any(|&byte| byte > 0))
            })
        });
        if has_run {
            return Ok(());
        }
        Err(failed(&"its program ran and counted nothing"))
    }
}

/// Where the kernel does not know this kind of link, the error is that of an invalid argument.
fn tcx(program: &libbpf_rs::ProgramMut<'_>, ingress: bool) -> libbpf_rs::Result<Link> {
    let kind = if ingress {
        libbpf_sys::BPF_TCX_INGRESS
    } else {
        libbpf_sys::BPF_TCX_EGRESS
    };
    let options = libbpf_sys::bpf_tcx_opts {
        sz: size_of::<libbpf_sys::bpf_tcx_opts>() as libbpf_sys::size_t,
        ..Default::default()
    };
    let pointer = libbpf_rs::AsRawLibbpf::as_libbpf_object(program);
    // SAFETY: the program is loaded; `options` lives as long as the call and says its size.
    unsafe {
        libbpf_sys::bpf_program__set_expected_attach_type(pointer.as_ptr(), kind);
        let link =
            libbpf_sys::bpf_program__attach_tcx(pointer.as_ptr(), LOOPBACK, &raw const options);
        match NonNull::new(link) {
            Some(link) => Ok(Link::from_ptr(link)),
            None => Err(libbpf_rs::Error::from(std::io::Error::last_os_error())),
        }
    }
}

/// The network namespace of this thread.
fn own_namespace() -> Result<OwnedFd> {
    std::fs::File::open("/proc/thread-self/ns/net")
        .map(OwnedFd::from)
        .map_err(|error| {
            Error::new(
                ErrorKind::Failed,
                "cannot find this thread's network namespace",
                error,
                "mount -t proc proc /proc",
            )
        })
}

/// This thread in a network namespace of its own, until the value is dropped.
struct OwnNamespace {
    before: OwnedFd,
}

impl OwnNamespace {
    fn enter() -> Result<Self> {
        let failed = |error: std::io::Error| {
            let kind = match error.raw_os_error() {
                Some(libc::EPERM) => ErrorKind::Privilege,
                _ => ErrorKind::Failed,
            };
            Error::new(
                kind,
                "cannot make a network namespace",
                error,
                "run as root, or with CAP_SYS_ADMIN",
            )
        };
        let before = own_namespace()?;
        // SAFETY: takes a number only; only this thread changes its namespace.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
            return Err(failed(std::io::Error::last_os_error()));
        }
        Ok(Self { before })
    }
}

impl Drop for OwnNamespace {
    fn drop(&mut self) {
        // SAFETY: the descriptor of a namespace, which lives as long as this value.
        unsafe { libc::setns(self.before.as_fd().as_raw_fd(), libc::CLONE_NEWNET) };
    }
}
