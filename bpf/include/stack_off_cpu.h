/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Where threads wait, and for how long.
 *
 * A switch to another thread costs two look-ups and some arithmetic. Each thread adds up the time that it waited;
 * whenever a sampling period is full, the wait that filled it is told, with the periods as its weight: unbiased by
 * time, and as many stacks as there are samples, however often threads switch.
 *
 * A thread that waited in a call is told when that call returns, because only then its stack can be read. Under the
 * run queue's lock nothing is inserted anywhere: userspace, fork and exec do that.
 */
#ifndef UNIVERSAL_TRACER_STACK_OFF_CPU_H
#define UNIVERSAL_TRACER_STACK_OFF_CPU_H

#include "watched_threads.h"

#if defined(__TARGET_ARCH_x86)
#define IS_IN_CALL(regs) ((__s64)BPF_CORE_READ(regs, orig_ax) >= 0)
#define USER_PC(regs) BPF_CORE_READ(regs, ip)
#else
#define IS_IN_CALL(regs) (BPF_CORE_READ(regs, syscallno) >= 0)
#define USER_PC(regs) BPF_CORE_READ(regs, pc)
#endif

/* Whole periods of what has added up; the rest waits for more. */
static __always_inline __u64 take_periods(__u64 *waited_ns)
{
	__u64 weight = *waited_ns - *waited_ns % settings.period_ns;

	*waited_ns -= weight;
	return weight;
}

static __always_inline void copy_wait_frames(struct stack_scratch *scratch, const struct watched_thread *thread)
{
	__u32 frames = thread->kernel_bytes / sizeof(__u64);

	if (!settings.kernel_stacks || thread->kernel_bytes > sizeof(thread->frames))
		frames = 0;
	scratch->sample.kernel_frames = frames;
	__builtin_memcpy(scratch->frames, thread->frames, sizeof(thread->frames));
}

static __always_inline void emit_wait(struct stack_scratch *scratch, __u64 weight, __u32 waker, __u8 flags)
{
	scratch->sample.weight_ns = weight;
	scratch->sample.waker = waker;
	scratch->sample.flags |= flags;
	emit_sample(scratch);
	scratch->sample.flags &= ~flags;
}

static __always_inline void emit_waits(struct stack_scratch *scratch, struct watched_thread *thread)
{
	if (thread->blocked_told)
		emit_wait(scratch, thread->blocked_told, thread->waker, 0);
	if (thread->queued_told)
		emit_wait(scratch, thread->queued_told, thread->waker, SAMPLE_RUN_QUEUE);
	thread->blocked_told = thread->queued_told = 0;
}

/* Of a thread that is in no call only the innermost function is known before it runs. */
static __always_inline void tell_at_once(struct watched_thread *thread, struct task_struct *task, __u64 pc)
{
	struct stack_scratch *scratch = get_stack_scratch(SCRATCH_SWITCH);
	__u32 place;

	if (!scratch)
		return;
	begin_sample(scratch, task, SAMPLE_OFF_CPU);
	copy_wait_frames(scratch, thread);
	place = scratch->sample.kernel_frames;
	if (pc && settings.user_stacks && place <= MAX_WAIT_FRAMES) {
		scratch->frames[place] = pc;
		scratch->sample.user_frames = 1;
		scratch->sample.end = END_INNERMOST;
	}
	emit_waits(scratch, thread);
}

static __always_inline void leave_cpu(struct task_struct *task, bool preempted, __u64 now)
{
	__u32 tid = task->pid;
	struct watched_thread *thread = bpf_map_lookup_elem(&watched_threads, &tid);

	if (!thread)
		return;
	thread->out_ns = now;
	thread->woken_ns = 0;
	thread->waker = 0;
	thread->could_run = preempted || is_runnable(task);
}

static __always_inline void enter_cpu(struct task_struct *task, __u64 now)
{
	__u32 tid = task->pid;
	struct watched_thread *thread = bpf_map_lookup_elem(&watched_threads, &tid);
	struct pt_regs *regs;
	__u64 ready;

	if (!thread || !thread->out_ns)
		return;
	ready = thread->could_run ? thread->out_ns : thread->woken_ns ? thread->woken_ns : now;
	thread->blocked_ns += ready - thread->out_ns;
	thread->queued_ns += now - ready;
	thread->out_ns = 0;
	if (thread->blocked_ns < settings.period_ns && thread->queued_ns < settings.period_ns)
		return;
	thread->blocked_told += take_periods(&thread->blocked_ns);
	thread->queued_told += take_periods(&thread->queued_ns);
	thread->kernel_bytes = bpf_get_task_stack(task, thread->frames, sizeof(thread->frames), 0);
	regs = saved_registers(task);
	if (task->flags & PF_KTHREAD)
		tell_at_once(thread, task, 0);
	else if (!IS_IN_CALL(regs))
		tell_at_once(thread, task, USER_PC(regs));
}

SEC("tp_btf/sched_switch")
int BPF_PROG(handle_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	__u64 now = bpf_ktime_get_ns();

	leave_cpu(prev, preempt, now);
	enter_cpu(next, now);
	return 0;
}

SEC("tp_btf/sched_waking")
int BPF_PROG(handle_waking, struct task_struct *task)
{
	__u32 tid = task->pid;
	struct watched_thread *thread = bpf_map_lookup_elem(&watched_threads, &tid);

	if (thread && thread->out_ns && !thread->woken_ns) {
		thread->woken_ns = bpf_ktime_get_ns();
		thread->waker = bpf_get_current_pid_tgid();
	}
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(handle_call_end, struct pt_regs *regs, long result)
{
	struct task_struct *task = present_task();
	__u32 tid = bpf_get_current_pid_tgid();
	struct watched_thread *thread = bpf_map_lookup_elem(&watched_threads, &tid);
	struct stack_scratch *scratch;

	if (!thread || !(thread->blocked_told | thread->queued_told))
		return 0;
	scratch = get_stack_scratch(SCRATCH_CALL_END);
	if (!scratch)
		return 0;
	begin_sample(scratch, task, SAMPLE_OFF_CPU);
	copy_wait_frames(scratch, thread);
	if (wants_user_stack(task, scratch))
		walk_and_keep_rest(scratch, SCRATCH_CALL_END, REST_OF_CALL_END, task);
	emit_waits(scratch, thread);
	return 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(handle_new_thread, struct task_struct *parent, struct task_struct *child)
{
	if (is_target(child->tgid) || is_target(parent->tgid))
		watch_thread(child->pid);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(handle_end_of_thread, struct task_struct *task)
{
	__u32 tid = task->pid;

	bpf_map_delete_elem(&watched_threads, &tid);
	return 0;
}

#endif
