/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Walks user stacks by tables that native/core/src/unwind compiles from .eh_frame and .debug_frame.
 *
 * Only three registers are followed: pc, sp and the frame pointer (and lr on arm64).
 */
#ifndef UNIVERSAL_TRACER_STACK_UNWIND_H
#define UNIVERSAL_TRACER_STACK_UNWIND_H

#include "unwind_tables.h"
#include "unwind_find.h"
#include "unwind_registers.h"
#include "unwind_step.h"
#include "unwind_returns.h"

/*
 * Notes a frame and steps out of it; other than 0: that was the last. A global function is looked at once by the
 * verifier, and not in each turn of the loop around it: so no kernel has to know bpf_loop (5.17).
 */
__noinline int walk_frame(__u32 use)
{
	struct stack_scratch *scratch = get_stack_scratch(use);
	__u32 place;

	if (!scratch)
		return 1;
	place = scratch->sample.kernel_frames + scratch->sample.user_frames;
	if (place > MAX_FRAMES)
		return 1;
	scratch->frames[place] = scratch->registers.pc;
	scratch->sample.user_frames++;
	scratch->sample.end = step_out(scratch);
	undo_replacement(&scratch->registers);
	return scratch->sample.end != END_GOES_ON;
}

static __always_inline void walk_user_stack(struct stack_scratch *scratch, __u32 use, struct task_struct *task)
{
	__u32 depth = settings.max_depth;

	if (depth > MAX_USER_FRAMES)
		depth = MAX_USER_FRAMES;
	take_user_registers(&scratch->registers, task);
	find_replaced_returns(&scratch->registers, task);
	scratch->registers.is_call = false;
	scratch->registers.is_leaf = true;
	scratch->registers.mapping.end = 0;
	scratch->sample.end = END_DEPTH;
	for (__u32 frame = 0; frame < depth; frame++)
		if (walk_frame(use))
			break;
	if (scratch->sample.end == END_GOES_ON)
		scratch->sample.end = END_DEPTH;
	else if (scratch->sample.end > END_FRAME_POINTERS)
		scratch->sample.end_pc = scratch->registers.pc;
	if (scratch->sample.end_pc && is_between_programs(task)) {
		scratch->sample.user_frames = scratch->sample.end_pc = 0;
		scratch->sample.end = END_NO_USER;
	}
}

#endif
