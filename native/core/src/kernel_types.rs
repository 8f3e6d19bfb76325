//! Questions to the kernel's own type information (BTF): which tracepoints there are, and what they hand over.

use libbpf_rs::btf::types::{FuncProto, Ptr, Struct, Typedef};
use libbpf_rs::btf::{Btf, ReferencesType};

use crate::error::{Error, ErrorKind, Result};
use crate::verifier_log;

/// The types of the running kernel.
pub(crate) struct KernelTypes(Btf<'static>);

impl KernelTypes {
    /// # Errors
    /// [`ErrorKind::Kernel`] where the kernel does not describe its types.
    pub(crate) fn read() -> Result<Self> {
        verifier_log::capture();
        Btf::from_vmlinux().map(Self).map_err(|error| {
            Error::new(
                ErrorKind::Kernel,
                "this kernel describes no types of its own (BTF)",
                format!("/sys/kernel/btf/vmlinux: {error}"),
                "boot a kernel built with CONFIG_DEBUG_INFO_BTF=y (the standard kernels of the distributions since 2020)",
            )
        })
    }

    pub(crate) fn has_tracepoint(&self, name: &str) -> bool {
        self.tracepoint(name).is_some()
    }

    /// Whether an argument of a tracepoint, counted from 0, is a pointer.
    pub(crate) fn hands_over_pointer(&self, tracepoint: &str, argument: usize) -> bool {
        self.pointer(tracepoint, argument).is_some()
    }

    /// Whether an argument of a tracepoint, counted from 0, is a pointer to `struct NAME`.
    pub(crate) fn hands_over(&self, tracepoint: &str, argument: usize, name: &str) -> bool {
        self.pointer(tracepoint, argument)
            .and_then(|pointer| {
                Struct::try_from(pointer.referenced_type().skip_mods_and_typedefs()).ok()
            })
            .and_then(|target| Some(target.name()?.to_str()? == name))
            .unwrap_or(false)
    }

    fn pointer(&self, tracepoint: &str, argument: usize) -> Option<Ptr<'_>> {
        // the first parameter is the kernel's own
        let parameter = self.tracepoint(tracepoint)?.get(argument + 1)?;
        self.0.type_by_id(parameter.ty)
    }

    fn tracepoint(&self, name: &str) -> Option<FuncProto<'_>> {
        let function: Typedef<'_> = self.0.type_by_name(&format!("btf_trace_{name}"))?;
        let pointer = Ptr::try_from(function.referenced_type()).ok()?;
        FuncProto::try_from(pointer.referenced_type()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::KernelTypes;

    #[test]
    fn tracepoints_and_what_they_hand_over() {
        let Ok(types) = KernelTypes::read() else {
            return; // a kernel without BTF, such as a container's host may be
        };
        assert!(types.has_tracepoint("sched_process_fork"));
        assert!(!types.has_tracepoint("no_such_place"));
        assert!(types.hands_over("sched_process_fork", 1, "task_struct"));
        assert!(types.hands_over_pointer("sched_process_fork", 1));
        assert!(!types.hands_over_pointer("sys_exit", 1));
        assert!(!types.hands_over("sched_process_fork", 1, "sock"));
        assert!(!types.hands_over("sched_process_fork", 2, "task_struct"));
    }
}
