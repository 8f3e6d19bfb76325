/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Return addresses that the kernel has replaced: where somebody follows a function's return (uretprobe), the stack leads
 * to the kernel's own code, and the true address is in the thread's list of such returns.
 */
#ifndef UNIVERSAL_TRACER_UNWIND_RETURNS_H
#define UNIVERSAL_TRACER_UNWIND_RETURNS_H

/* MAX_URETPROBE_DEPTH of the kernel */
#define MAX_RETURNS 64

#if defined(__TARGET_ARCH_x86)
#define RETURN_SLOT(registers) ((registers)->sp - 8)
#else
#define RETURN_SLOT(registers) ((registers)->sp)
#endif

static __always_inline void find_replaced_returns(struct user_registers *registers, struct task_struct *task)
{
	struct uprobe_task *traced = BPF_CORE_READ(task, utask);

	registers->replacement = 0;
	if (!traced)
		return;
	registers->returns = BPF_CORE_READ(traced, return_instances);
	if (registers->returns)
		registers->replacement = BPF_CORE_READ(task, mm, uprobes_state.xol_area, vaddr);
}

/* The list begins with the innermost; what longjmp has left is in front, and below the stack pointer. */
static __always_inline void undo_replacement(struct user_registers *registers)
{
	if (!registers->replacement || registers->pc != registers->replacement)
		return;
	for (int turn = 0; turn < MAX_RETURNS && registers->returns; turn++) {
		struct return_instance *saved = registers->returns;
		__u64 slot = BPF_CORE_READ(saved, stack);

		if (slot == RETURN_SLOT(registers))
			registers->pc = BPF_CORE_READ(saved, orig_ret_vaddr);
		if (slot >= RETURN_SLOT(registers))
			return;
		registers->returns = BPF_CORE_READ(saved, next);
	}
}

#endif
