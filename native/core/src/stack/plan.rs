//! The stack tracer's hooks on this kernel.

use crate::error::{Error, Result};
use crate::plan::{PlannedHook, RARE, follows_targets, survey, target_hooks, tp_btf_hook};

/// The program that takes samples.
pub(crate) const SAMPLER: &str = "handle_sample";
/// The same, by frame pointers alone.
pub(crate) const SAMPLER_BY_FRAME_POINTERS: &str = "handle_sample_by_frame_pointers";

const SAMPLING: PlannedHook = PlannedHook {
    tracer: "stack",
    hook: "cpu-clock",
    adapter: "perf_event",
    why: "a sample of every CPU, at the frequency that was asked for",
    cost: "a walk of the stack per sample of a target, 0.1 µs per sample of others",
    program: SAMPLER,
};

/// Hooks that keep what is known of processes true.
const PROCESS_HOOKS: [PlannedHook; 2] = [
    tp_btf_hook(
        "stack",
        "sched_process_exec",
        "handle_new_program",
        "a process that became another program is looked at again",
        RARE,
    ),
    tp_btf_hook(
        "stack",
        "sched_process_exit",
        "handle_end_of_process",
        "processes that end are forgotten",
        RARE,
    ),
];

/// Hooks that measure waits.
const WAIT_HOOKS: [PlannedHook; 5] = [
    tp_btf_hook(
        "stack",
        "sched_switch",
        "handle_switch",
        "how long threads of targets are off the CPU",
        "below 0.2 µs per switch",
    ),
    tp_btf_hook(
        "stack",
        "sched_waking",
        "handle_waking",
        "when they are woken, and by whom",
        "below 0.1 µs per wake-up",
    ),
    tp_btf_hook(
        "stack",
        "sys_exit",
        "handle_call_end",
        "the stack of a thread that has waited, before it goes on",
        "below 0.1 µs per system call",
    ),
    tp_btf_hook(
        "stack",
        "sched_process_fork",
        "handle_new_thread",
        "new threads of targets are watched",
        RARE,
    ),
    tp_btf_hook(
        "stack",
        "sched_process_exit",
        "handle_end_of_thread",
        "threads that end are forgotten",
        RARE,
    ),
];

/// Whether the hook takes samples.
pub(crate) fn is_sampler(hook: &PlannedHook) -> bool {
    hook.adapter == SAMPLING.adapter
}

/// The hooks; `filter`: only some processes are traced; `off_cpu`: waits are measured; `sampler` is the program that
/// takes samples, none where nothing is sampled.
///
/// # Errors
/// [`crate::error::ErrorKind::Kernel`] without BTF, or where a hook does not exist.
pub(crate) fn plan(
    filter: bool,
    off_cpu: bool,
    sampler: Option<&'static str>,
) -> Result<Vec<PlannedHook>> {
    let measures_waits =
        |hook: &PlannedHook| WAIT_HOOKS.iter().any(|other| other.program == hook.program);
    survey_stack()?
        .into_iter()
        .filter(|(hook, _)| filter || !follows_targets(hook))
        .filter(|(hook, _)| off_cpu || !measures_waits(hook))
        .filter(|(hook, _)| sampler.is_some() || !is_sampler(hook))
        .map(|(hook, lack)| lack.map_or(Ok(hook), Err))
        .map(|hook| hook.map(|hook| with_program(hook, sampler.unwrap_or(SAMPLER))))
        .collect()
}

fn with_program(hook: PlannedHook, sampler: &'static str) -> PlannedHook {
    if is_sampler(&hook) {
        PlannedHook {
            program: sampler,
            ..hook
        }
    } else {
        hook
    }
}

/// Every hook of the stack tracer, and what this kernel lacks of it.
///
/// # Errors
/// [`crate::error::ErrorKind::Kernel`] without BTF.
pub(crate) fn survey_stack() -> Result<Vec<(PlannedHook, Option<Error>)>> {
    let tracepoints: Vec<_> = PROCESS_HOOKS
        .into_iter()
        .chain(WAIT_HOOKS)
        .chain(target_hooks("stack"))
        .collect();
    let surveyed = survey(&tracepoints, "the stack tracer follows processes there")?;
    Ok(std::iter::once((SAMPLING, None)).chain(surveyed).collect())
}
