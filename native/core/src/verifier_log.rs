//! libbpf's messages, kept so that an error can quote the last useful line, and `-v` show the rest.

use std::cell::RefCell;

use libbpf_rs::{PrintLevel, set_print};

/// The end of a verifier's log says why; its beginning may be megabytes away.
const KEPT_LINES: usize = 2000;

thread_local! {
    // libbpf speaks in the thread that asked it: what several try at once does not mix.
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// What libbpf said about one attempt.
#[derive(Clone, Debug, Default)]
pub struct KernelLog {
    pub lines: Vec<String>,
}

impl KernelLog {
    /// Whether the verifier refused a program, which the kernel tells by the same error as a lack of privilege.
    pub(crate) fn is_rejection(&self) -> bool {
        self.lines
            .iter()
            .any(|line| line.starts_with("processed ") || line.contains("-- BEGIN PROG LOAD LOG"))
    }

    /// The last line that says why; empty where there is none.
    pub(crate) fn last_useful_line(&self) -> &str {
        let useful = |line: &&str| {
            !line.is_empty()
                && !line.starts_with("processed ")
                && !line.starts_with("verification time")
                && !line.starts_with("stack depth")
                && !line.contains("-- END PROG LOAD LOG")
                && !line.contains("failed to load")
        };
        let trimmed = self.lines.iter().map(|line| line.trim());
        trimmed.rev().find(useful).unwrap_or_default()
    }
}

/// Keeps warnings from now on instead of printing them.
pub(crate) fn capture() {
    set_print(Some((PrintLevel::Warn, keep)));
}

#[expect(clippy::needless_pass_by_value, reason = "the signature is libbpf's")]
fn keep(_level: PrintLevel, message: String) {
    LINES.with_borrow_mut(|lines| {
        lines.extend(message.lines().map(str::to_owned));
        let excess = lines.len().saturating_sub(KEPT_LINES);
        lines.drain(..excess);
    });
}

/// What this thread was told since the last call; forgets it.
pub(crate) fn take() -> KernelLog {
    KernelLog {
        lines: LINES.take(),
    }
}

#[cfg(test)]
mod tests {
    use super::KernelLog;

    fn log(text: &str) -> KernelLog {
        KernelLog {
            lines: text.lines().map(str::to_owned).collect(),
        }
    }

    #[test]
    fn a_rejection_is_summed_up_by_the_verifiers_verdict() {
        let rejection = log(
            "libbpf: prog 'handle_send': BPF program load failed: Permission denied\n\
             libbpf: prog 'handle_send': -- BEGIN PROG LOAD LOG --\n\
             0: R1=ctx() R10=fp0\n\
             0: (79) r0 = *(u64 *)(r1 +8184)\n\
             func 'sock_send_length' doesn't have 1024-th argument\n\
             invalid bpf_context access off=8184 size=8\n\
             processed 1 insns (limit 1000000) max_states_per_insn 0\n\
             -- END PROG LOAD LOG --\n\
             libbpf: prog 'handle_send': failed to load: -13\n\
             libbpf: failed to load object 'x.o'\n",
        );
        assert!(rejection.is_rejection());
        assert_eq!(
            rejection.last_useful_line(),
            "invalid bpf_context access off=8184 size=8"
        );
    }

    #[test]
    fn a_refusal_without_a_verdict_is_no_rejection() {
        let refusal = log("libbpf: Error in bpf_object__probe_loading(): Operation not permitted");
        assert!(!refusal.is_rejection());
        assert!(!refusal.last_useful_line().is_empty());
        assert_eq!(log("").last_useful_line(), "");
    }
}
