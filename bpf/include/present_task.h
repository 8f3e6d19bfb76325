/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Threads, and the registers with which they entered the kernel, on every kernel from 5.10 on. A task may be a typed
 * pointer or a mere number to the verifier: members are copied (BPF_CORE_READ).
 */
#ifndef UNIVERSAL_TRACER_PRESENT_TASK_H
#define UNIVERSAL_TRACER_PRESENT_TASK_H

/* Which helpers a kernel has is in its type information: what it lacks is dead code to its verifier. */
enum bpf_func_id___known {
	BPF_FUNC_get_current_task_btf___known = 158, /* 5.11, 3ca1032ab7ab */
	BPF_FUNC_task_pt_regs___known = 175,	     /* 5.15, dd6e10fbd9fb */
};
#define HAS_HELPER(name) bpf_core_enum_value_exists(enum bpf_func_id___known, BPF_FUNC_##name##___known)

/* `state` until 5.14, 2f064a59a11f */
struct task_struct___any {
	volatile long state;
	void *stack;
} __attribute__((preserve_access_index));

/* Of kernels older than 5.15; those with KASAN have twice as much, and so have arm64's with pages of 64 KiB */
#define KERNEL_STACK_BYTES 16384

static __always_inline struct task_struct *present_task(void)
{
	if (HAS_HELPER(get_current_task_btf))
		return bpf_get_current_task_btf();
	return (struct task_struct *)bpf_get_current_task();
}

/* Its program is being replaced, or has been taken down: registers and memory are nobody's. */
struct task_struct___execve {
	unsigned int in_execve : 1;
} __attribute__((preserve_access_index));

static __always_inline bool is_between_programs(struct task_struct *task)
{
	struct task_struct___execve *execve = (struct task_struct___execve *)task;

	if (BPF_CORE_READ(task, flags) & PF_EXITING)
		return true;
	return bpf_core_field_exists(execve->in_execve) && BPF_CORE_READ_BITFIELD_PROBED(execve, in_execve);
}

static __always_inline struct pt_regs *saved_registers(struct task_struct *task)
{
	struct task_struct___any *any = (struct task_struct___any *)task;

	if (HAS_HELPER(task_pt_regs))
		return (struct pt_regs *)bpf_task_pt_regs(task);
	return (struct pt_regs *)((__u64)BPF_CORE_READ(any, stack) + KERNEL_STACK_BYTES -
				  bpf_core_type_size(struct pt_regs));
}

static __always_inline bool is_runnable(struct task_struct *task)
{
	if (bpf_core_field_exists(task->__state))
		return !BPF_CORE_READ(task, __state);
	return !BPF_CORE_READ((struct task_struct___any *)task, state);
}

#endif
