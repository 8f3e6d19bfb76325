// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/*
 * Stack tracer: which functions a target's threads are in, sampled.
 *
 * Hooks: a perf event per CPU (the CPU's clock, 99 times a second by default);
 * fork, exec, exit and cgroup moves of targets; for waits also the scheduler's
 * switches and wake-ups, and the end of system calls (stack_off_cpu.h). A sample of another process
 * costs a hash look-up, one of a target the walk of its stack; nothing runs
 * between samples. docs/BENCHMARKS.md has the figures.
 *
 * A perf event may interrupt anything, a map's update on the same CPU included:
 * what runs there looks up, writes to per-CPU arrays and to the ring, and never
 * updates a hash. native/core counts equal stacks and names the frames.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "compat.h"
#include "stack_records.h"
#include "call_records.h"

/* Settings, fixed before load: see native/core/src/stack/settings.rs. */
struct stack_settings {
	__u32 self_pid; /* the tracer, never traced */
	__u8 filter;	/* trace `targets` only */
	__u8 has_names; /* target_names is not empty */
	__u8 kernel_stacks;
	__u8 user_stacks;
	__u8 mixed_stacks; /* keep both parts of a sample taken in the kernel */
	__u8 off_cpu;	   /* measure where threads wait */
	__u8 by_tables;	   /* how stacks of calls are walked; samples have a program for each way */
	__u8 call_events;  /* tell each call; else they are counted only */
	__u32 max_depth; /* user frames per stack */
	__u64 ring_bytes;
	__u64 period_ns; /* between two samples */
	__u64 call_ring_bytes;
};
const volatile struct stack_settings settings SEC(".rodata.settings");

#include "shared_maps.h"
#include "targets.h"
#include "present_task.h"
#include "stack_state.h"
#include "call_state.h"
#include "stack_unwind.h"
#include "stack_rest.h"

/* Helpers */

static __always_inline void take_kernel_stack(void *ctx, struct stack_scratch *scratch)
{
	long bytes = 0;

	if (settings.kernel_stacks)
		bytes = bpf_get_stack(ctx, scratch->frames, MAX_KERNEL_FRAMES * sizeof(__u64), 0);
	scratch->sample.kernel_frames = bytes > 0 ? bytes / sizeof(__u64) : 0;
}

/* The chain of frame pointers, followed by the kernel. */
static __always_inline void take_user_stack(void *ctx, struct stack_scratch *scratch)
{
	__u32 begin = scratch->sample.kernel_frames, depth = settings.max_depth;
	long bytes;

	if (begin > MAX_KERNEL_FRAMES)
		begin = MAX_KERNEL_FRAMES;
	if (depth > MAX_USER_FRAMES)
		depth = MAX_USER_FRAMES;
	bytes = bpf_get_stack(ctx, &scratch->frames[begin], depth * sizeof(__u64), BPF_F_USER_STACK);
	scratch->sample.user_frames = bytes > 0 ? bytes / sizeof(__u64) : 0;
	scratch->sample.end = scratch->sample.user_frames < depth ? END_FRAME_POINTERS : END_DEPTH;
}

static __always_inline bool wants_user_stack(struct task_struct *task, const struct stack_scratch *scratch)
{
	if (!settings.user_stacks || (BPF_CORE_READ(task, flags) & PF_KTHREAD))
		return false;
	return settings.mixed_stacks || !scratch->sample.kernel_frames;
}

static __always_inline void begin_sample(struct stack_scratch *scratch, struct task_struct *task, __u8 kind)
{
	struct sample *sample = &scratch->sample;

	sample->time_ns = bpf_ktime_get_ns();
	sample->weight_ns = sample->end_pc = 0;
	sample->pid = BPF_CORE_READ(task, tgid);
	sample->tid = BPF_CORE_READ(task, pid);
	sample->waker = 0;
	sample->kind = kind;
	sample->flags = is_known_process(sample->pid) ? 0 : SAMPLE_NEW_PROCESS;
	sample->end = END_NO_USER;
	sample->user_frames = 0;
	BPF_CORE_READ_INTO(&sample->comm, task, comm);
}

static __always_inline void emit_sample(struct stack_scratch *scratch)
{
	struct sample *sample = &scratch->sample;
	__u32 frames = sample->kernel_frames + sample->user_frames;
	__u64 waiting = bpf_ringbuf_query(&samples, BPF_RB_AVAIL_DATA);
	__u64 flags = BPF_RB_NO_WAKEUP;

	/* a new process may be gone soon, and its mappings with it: they are read at once */
	if ((sample->flags & SAMPLE_NEW_PROCESS) || sample->end == END_NO_MAPPING || waiting > settings.ring_bytes / 2)
		flags = BPF_RB_FORCE_WAKEUP;
	if (frames > MAX_FRAMES)
		frames = MAX_FRAMES;
	count_hit(HIT_OPERATIONS);
	if (bpf_ringbuf_output(&samples, sample, sizeof(*sample) + frames * sizeof(__u64), flags))
		count_loss(LOSS_RING_FULL);
}

#include "stack_off_cpu.h"
#include "calls.h"
#include "user_calls.h"
#include "kernel_calls.h"

/* Handlers */
static __always_inline int take_sample(void *ctx, bool by_tables)
{
	struct stack_scratch *scratch = get_stack_scratch(SCRATCH_SAMPLE);
	__u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct task_struct *task;

	/* pid 0 is the idle CPU */
	if (!scratch || !pid || !is_target(pid))
		return 0;
	task = present_task();
	begin_sample(scratch, task, SAMPLE_CPU);
	take_kernel_stack(ctx, scratch);
	if (wants_user_stack(task, scratch)) {
		if (by_tables)
			walk_and_keep_rest(scratch, SCRATCH_SAMPLE, REST_OF_SAMPLE, task);
		else
			take_user_stack(ctx, scratch);
	}
	emit_sample(scratch);
	return 0;
}

SEC("perf_event")
int handle_sample(void *ctx)
{
	return take_sample(ctx, true);
}

/* On request. */
SEC("perf_event")
int handle_sample_by_frame_pointers(void *ctx)
{
	return take_sample(ctx, false);
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(handle_new_program, struct task_struct *task, pid_t old_pid, struct linux_binprm *bprm)
{
	forget_process(task->tgid);
	if (settings.off_cpu && is_target(task->tgid))
		watch_thread(task->pid);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(handle_end_of_process, struct task_struct *task)
{
	if (BPF_CORE_READ(task, signal, live.counter) == 0)
		forget_process(task->tgid);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
