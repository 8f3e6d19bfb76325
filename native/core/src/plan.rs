//! Which hooks a run will use on this kernel, and why: "hook → adapter, why".
//!
//! `doctor` and `--dry-run` print the plan, a run executes it.

use crate::error::{Error, ErrorKind, Result};
use crate::kernel_types::KernelTypes;
use crate::socket_adapter::SocketAdapter;

/// One hook, how it is reached, and what it is expected to cost.
#[derive(Clone, Copy, Debug)]
pub struct PlannedHook {
    pub tracer: &'static str,
    /// The kernel's name of the place.
    pub hook: &'static str,
    pub adapter: &'static str,
    pub why: &'static str,
    pub cost: &'static str,
    /// Name of the program in the object.
    pub program: &'static str,
}

const TRANSFER_COST: &str =
    "below 1 µs per socket operation of a target, 0.1 µs per operation of others";
pub(crate) const RARE: &str = "nothing between the events";

/// Hooks of the HTTP tracer at sockets.
const HTTP_HOOKS: [PlannedHook; 4] = [
    http_hook(
        "sock_send_length",
        "handle_send",
        "the end of every send gives socket, bytes and sequence",
        TRANSFER_COST,
    ),
    http_hook(
        "sock_recv_length",
        "handle_receive",
        "the end of every receive gives socket, bytes and sequence",
        TRANSFER_COST,
    ),
    http_hook(
        "inet_sock_set_state",
        "handle_state",
        "begin, role and end of TCP connections",
        "1 µs per connection",
    ),
    http_hook(
        "io_uring_complete",
        "handle_uring_complete",
        "buffers of operations that io_uring carries",
        "below 1 µs per operation of io_uring",
    ),
];

/// Hooks of `bpf/include/targets.h`, which follow the targets: needed with a filter only.
pub(crate) const fn target_hooks(tracer: &'static str) -> [PlannedHook; 5] {
    [
        tp_btf_hook(
            tracer,
            "sched_process_fork",
            "handle_fork",
            "children of targets are targets",
            RARE,
        ),
        tp_btf_hook(
            tracer,
            "sched_process_exec",
            "handle_exec",
            "processes that are named later become targets",
            RARE,
        ),
        tp_btf_hook(
            tracer,
            "task_rename",
            "handle_rename",
            "processes that name themselves become targets",
            RARE,
        ),
        tp_btf_hook(
            tracer,
            "sched_process_exit",
            "handle_exit",
            "targets that end are forgotten",
            RARE,
        ),
        tp_btf_hook(
            tracer,
            "cgroup_attach_task",
            "handle_cgroup_move",
            "processes that enter a cgroup become targets",
            RARE,
        ),
    ]
}

/// Whether a hook is one of [`target_hooks`].
pub(crate) fn follows_targets(hook: &PlannedHook) -> bool {
    target_hooks(hook.tracer)
        .iter()
        .any(|other| other.program == hook.program)
}

pub(crate) const fn http_hook(
    hook: &'static str,
    program: &'static str,
    why: &'static str,
    cost: &'static str,
) -> PlannedHook {
    tp_btf_hook("http", hook, program, why, cost)
}

/// A hook at a tracepoint whose arguments have types.
pub(crate) const fn tp_btf_hook(
    tracer: &'static str,
    hook: &'static str,
    program: &'static str,
    why: &'static str,
    cost: &'static str,
) -> PlannedHook {
    PlannedHook {
        tracer,
        hook,
        adapter: "tp_btf",
        why,
        cost,
        program,
    }
}

/// A way to trace HTTP on this kernel, not yet tried.
pub(crate) struct HttpPlan {
    pub(crate) adapter: SocketAdapter,
    /// Every hook, and what this kernel lacks of it.
    pub(crate) surveyed: Vec<(PlannedHook, Option<Error>)>,
}

impl HttpPlan {
    /// The hooks that a run attaches.
    ///
    /// # Errors
    /// [`ErrorKind::Kernel`] where one of them does not exist.
    pub(crate) fn hooks(&self, filter: bool) -> Result<Vec<PlannedHook>> {
        let wanted = |hook: &PlannedHook| filter || !follows_targets(hook);
        self.surveyed
            .iter()
            .filter(|(hook, _)| wanted(hook))
            .map(|(hook, lack)| lack.clone().map_or(Ok(*hook), Err))
            .collect()
    }
}

/// The ways to trace HTTP that may be tried on this kernel, the best first.
///
/// # Errors
/// [`ErrorKind::Kernel`] without BTF.
pub(crate) fn plan_http() -> Result<Vec<HttpPlan>> {
    let types = KernelTypes::read()?;
    let use_of_it = "the HTTP tracer watches sockets there";
    let surveyed = |hook: PlannedHook| (hook, missing_tracepoint(&types, hook.hook, use_of_it));
    let plan = |adapter: SocketAdapter| HttpPlan {
        adapter,
        surveyed: adapter
            .adapt(&types, &HTTP_HOOKS)
            .into_iter()
            .chain(target_hooks("http"))
            .map(surveyed)
            .collect(),
    };
    Ok(SocketAdapter::candidates(&types)
        .into_iter()
        .map(plan)
        .collect())
}

/// Hooks at tracepoints, and what this kernel lacks of them; `use_of_it` says what is missed then.
///
/// # Errors
/// [`ErrorKind::Kernel`] without BTF.
pub(crate) fn survey(
    hooks: &[PlannedHook],
    use_of_it: &str,
) -> Result<Vec<(PlannedHook, Option<Error>)>> {
    let types = KernelTypes::read()?;
    let surveyed = |hook: &PlannedHook| (*hook, missing_tracepoint(&types, hook.hook, use_of_it));
    Ok(hooks.iter().map(surveyed).collect())
}

fn missing_tracepoint(types: &KernelTypes, hook: &str, use_of_it: &str) -> Option<Error> {
    (!types.has_tracepoint(hook)).then(|| {
        Error::new(
            ErrorKind::Kernel,
            format!("this kernel has no tracepoint {hook}"),
            use_of_it,
            "run Linux 5.10 or newer",
        )
    })
}
