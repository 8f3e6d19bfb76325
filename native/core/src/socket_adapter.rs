//! How the HTTP tracer reaches sockets: by hooks of their own, or at the end of every system call.
//!
//! Both objects are made of the same handlers (`bpf/include/adapter.h`). The first that this kernel can do is
//! taken; `UNIVERSAL_TRACER_ADAPTERS=sockets=sys_exit` takes the one that is named, for tests and comparisons.

use std::path::{Path, PathBuf};

use crate::kernel_types::KernelTypes;
use crate::plan::{PlannedHook, RARE, http_hook};

/// The variable by which tests and comparisons choose adapters.
pub(crate) const FORCED: &str = "UNIVERSAL_TRACER_ADAPTERS";
const ANY_CALL_COST: &str =
    "about 1 µs per socket operation of a target, 0.1 µs per system call of anybody";

/// What takes the place of the hooks at sockets.
const CALL_END: PlannedHook = http_hook(
    "sys_exit",
    "handle_call_end",
    "sockets have no hooks here: a call's descriptor leads to the socket",
    ANY_CALL_COST,
);
const DESTRUCTION: PlannedHook = http_hook(
    "tcp_destroy_sock",
    "handle_destroy",
    "frees what is known of a connection",
    RARE,
);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SocketAdapter {
    /// `sock_send_length`, `sock_recv_length`.
    Hooks,
    /// `sys_exit`.
    SysExit,
}

impl SocketAdapter {
    /// Those that may be tried here, the best first.
    pub(crate) fn candidates(types: &KernelTypes) -> Vec<Self> {
        let all = [Self::Hooks, Self::SysExit];
        let forced = std::env::var(FORCED).unwrap_or_default();
        let by_name = |adapter: &Self| forced.split(',').any(|word| word == adapter.switch());
        if let Some(adapter) = all.into_iter().find(by_name) {
            return vec![adapter];
        }
        if types.has_tracepoint("sock_send_length") && types.has_tracepoint("sock_recv_length") {
            return all.to_vec();
        }
        vec![Self::SysExit]
    }

    fn switch(self) -> &'static str {
        match self {
            Self::Hooks => "sockets=hooks",
            Self::SysExit => "sockets=sys_exit",
        }
    }

    /// The object beside `object`, the tracer's first one.
    pub(crate) fn object(self, object: &Path) -> PathBuf {
        match self {
            Self::Hooks => object.to_owned(),
            Self::SysExit => object.with_file_name("http_tracer_sys_exit.o"),
        }
    }

    /// The hooks of this adapter in place of `hooks`, those of [`SocketAdapter::Hooks`].
    pub(crate) fn adapt(self, types: &KernelTypes, hooks: &[PlannedHook]) -> Vec<PlannedHook> {
        let fitting = hooks.iter().filter_map(|hook| fit_uring(types, *hook));
        if self == Self::Hooks {
            return fitting.collect();
        }
        [CALL_END, DESTRUCTION]
            .into_iter()
            .chain(fitting.filter(|hook| !hook.hook.starts_with("sock_")))
            .collect()
    }
}

/// Takes the program that reads what this kernel's tracepoint hands over; none where that is not the request.
fn fit_uring(types: &KernelTypes, hook: PlannedHook) -> Option<PlannedHook> {
    if hook.hook != "io_uring_complete" || types.hands_over(hook.hook, 2, "io_uring_cqe") {
        return Some(hook);
    }
    types
        .hands_over_pointer(hook.hook, 1)
        .then_some(PlannedHook {
            program: "handle_uring_result",
            ..hook
        })
}

#[cfg(test)]
mod tests {
    use super::SocketAdapter;
    use std::path::Path;

    #[test]
    fn the_second_object_lies_beside_the_first() {
        let first = Path::new("/objects/http_tracer.o");
        assert_eq!(SocketAdapter::Hooks.object(first), first);
        assert_eq!(
            SocketAdapter::SysExit.object(first),
            Path::new("/objects/http_tracer_sys_exit.o")
        );
    }
}
