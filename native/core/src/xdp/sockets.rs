//! Whose sockets there are: the hooks that tell, a look at all sockets that exist, and who is a target.

use std::io::Read;

use libbpf_rs::{Iter, Link, Object};

use super::load::Loader;
use super::records::KernelSettings;
use super::settings::XdpSettings;
use crate::error::{Error, ErrorKind, Result};
use crate::kernel_types::KernelTypes;
use crate::object::{self, CgroupId, map_handle};
use crate::plan::{PlannedHook, target_hooks, tp_btf_hook};
use crate::targets::Targets;

/// Lists all sockets that processes hold.
const LIST_SOCKETS: &str = "list_sockets";
const CALL_COST: &str = "0.1 µs per socket operation";

/// Hooks that tell whose sockets there are.
const SOCKET_HOOKS: [PlannedHook; 3] = [
    tp_btf_hook(
        "xdp",
        "inet_sock_set_state",
        "handle_state",
        "who connects and who listens owns the flow",
        "below 1 µs per connection",
    ),
    tp_btf_hook(
        "xdp",
        "sock_send_length",
        "handle_send",
        "who sends owns the flow",
        CALL_COST,
    ),
    tp_btf_hook(
        "xdp",
        "sock_recv_length",
        "handle_receive",
        "who receives owns the flow",
        CALL_COST,
    ),
];

/// The first look at all sockets.
const FIRST_LOOK: PlannedHook = PlannedHook {
    tracer: "xdp",
    hook: "task_file",
    adapter: "iter",
    why: "who holds the sockets that are there already",
    cost: "some milliseconds at the start",
    program: LIST_SOCKETS,
};

/// The hooks of this kernel. Where it lacks those of transfers, who listens stands for who accepts.
///
/// # Errors
/// [`ErrorKind::Kernel`] without BTF.
pub(crate) fn hooks(filter: bool) -> Result<Vec<PlannedHook>> {
    let types = KernelTypes::read()?;
    let targets = filter.then(|| target_hooks("xdp"));
    Ok(SOCKET_HOOKS
        .into_iter()
        .chain(targets.into_iter().flatten())
        .filter(|hook| types.has_tracepoint(hook.hook))
        .chain([FIRST_LOOK])
        .collect())
}

/// The programs that know of sockets and targets; dropping it detaches them.
pub(super) struct SocketWatch {
    targets: Targets,
    filter_is_on: bool,
    _links: Vec<Link>,
    list: Link,
    object: Object,
}

impl SocketWatch {
    /// Attaches the hooks, adds the targets, looks at all sockets.
    ///
    /// # Errors
    /// Where the kernel refuses, or a target is gone.
    pub(super) fn start(
        loader: &mut Loader,
        constants: &KernelSettings,
        settings: &XdpSettings,
        hooks: &[PlannedHook],
    ) -> Result<Self> {
        let programs: Vec<_> = hooks.iter().map(|hook| hook.program).collect();
        let object = loader.load(constants, &programs)?;
        settings.filter.fill(&object)?;
        // those that follow targets come first, so that no child is missed
        let links = hooks
            .iter()
            .rev()
            .filter(|hook| hook.program != LIST_SOCKETS)
            .map(|hook| object::attach(&object, hook))
            .collect::<Result<_>>()?;
        let targets = Targets::new(map_handle(&object, "targets")?);
        for &pid in &settings.filter.pids {
            targets.add(pid)?;
        }
        let list = object::attach(&object, &FIRST_LOOK)?;
        let watch = Self {
            targets,
            filter_is_on: settings.filter.enabled,
            _links: links,
            list,
            object,
        };
        watch.look_at_all()?;
        Ok(watch)
    }

    /// Lets the kernel note the sockets that processes hold.
    ///
    /// # Errors
    /// Where the kernel does not list them.
    pub(super) fn look_at_all(&self) -> Result<()> {
        let mut sockets = Iter::new(&self.list).map_err(cannot_list)?;
        let mut nothing = [0; 64];
        // nothing is written, but a read may end before the last process
        while sockets.read(&mut nothing).map_err(cannot_list)? > 0 {}
        Ok(())
    }

    pub(super) fn add_target(&self, pid: u32) -> Result<()> {
        if self.filter_is_on {
            self.targets.add(pid)?;
        }
        Ok(())
    }

    pub(super) fn add_cgroup(&self, group: CgroupId) -> Result<()> {
        object::add_cgroup(&self.object, group)
    }

    pub(super) fn live_targets(&self) -> Vec<u32> {
        self.targets.alive()
    }
}

fn cannot_list(cause: impl ToString) -> Error {
    Error::new(
        ErrorKind::Kernel,
        "cannot list the sockets that there are",
        cause,
        "run Linux 6.3 or newer",
    )
}
