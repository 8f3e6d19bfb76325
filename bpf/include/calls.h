/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Calls of functions: their entries and exits as records.
 *
 * Which exit belongs to which entry is never guessed. Where the kernel keeps a call's return address it keeps the time
 * of the entry beside it (uprobe.session); else the frame's address says it: a function returns from where it entered.
 * What was left by an exception, longjmp or the end of a thread has an entry and no exit.
 *
 * These programs may be preempted, so that records are made in one of several places.
 */
#ifndef UNIVERSAL_TRACER_CALLS_H
#define UNIVERSAL_TRACER_CALLS_H

#include "call_counts.h"
#include "call_arguments.h"

/* `use` is which one it is. */
static __always_inline struct stack_scratch *take_call_scratch(__u32 *use)
{
	for (__u32 index = SCRATCH_CALLS; index < STACK_SCRATCH_USES; index++) {
		struct stack_scratch *scratch = get_stack_scratch(index);

		*use = index;
		if (scratch && !__sync_lock_test_and_set(&scratch->is_busy, 1))
			return scratch;
	}
	count_call_loss(LOSS_CALLS);
	return NULL;
}

static __always_inline void give_back(struct stack_scratch *scratch)
{
	__sync_lock_test_and_set(&scratch->is_busy, 0);
}

static __always_inline void emit_call(struct stack_scratch *scratch, bool has_texts)
{
	struct sample *sample = &scratch->sample;
	__u32 bytes = sizeof(struct sample) + sizeof(struct call), frames = sample->kernel_frames + sample->user_frames;
	__u64 waiting = bpf_ringbuf_query(&calls, BPF_RB_AVAIL_DATA), flags = BPF_RB_NO_WAKEUP;
	long error;

	if ((sample->flags & SAMPLE_NEW_PROCESS) || sample->end == END_NO_MAPPING || waiting > settings.call_ring_bytes / 2)
		flags = BPF_RB_FORCE_WAKEUP;
	if (frames > MAX_FRAMES)
		frames = MAX_FRAMES;
	bytes += frames * sizeof(__u64);
	scratch->call.part = PART_CALL;
	scratch->texts.part = PART_TEXTS;
	if (has_texts)
		error = bpf_ringbuf_output(&calls, &scratch->texts, sizeof(struct call_texts) + bytes, flags);
	else
		error = bpf_ringbuf_output(&calls, &scratch->call, bytes, flags);
	if (error)
		count_call_loss(LOSS_CALLS);
}

static __always_inline void begin_call(struct stack_scratch *scratch, __u32 function, __u8 event, __u64 context)
{
	begin_sample(scratch, present_task(), SAMPLE_CALL);
	scratch->sample.kernel_frames = 0;
	scratch->call.function = function;
	scratch->call.event = event;
	scratch->call.context = context;
	scratch->call.entered_ns = scratch->call.result = 0;
	scratch->call.known = 0;
}

static __always_inline void take_call_stack(void *ctx, struct stack_scratch *scratch, __u32 use)
{
	if (settings.by_tables)
		walk_user_stack(scratch, use, present_task());
	else
		take_user_stack(ctx, scratch);
}

/* Where a function is. */
enum caller { CALLER_PROGRAM = 0, CALLER_KERNEL = 1, CALLER_TRACEPOINT = 2 };

/* A record that is begun, where calls are told and there is a place to make it. */
static __always_inline struct stack_scratch *start_call(__u32 function, __u8 event, __u64 context, __u32 *use)
{
	struct stack_scratch *scratch = settings.call_events ? take_call_scratch(use) : NULL;

	if (scratch)
		begin_call(scratch, function, event, context);
	return scratch;
}

static __always_inline void tell_entry(void *ctx, const struct function_spec *spec, __u32 function, __u64 context,
				       enum caller caller)
{
	__u32 use;
	struct stack_scratch *scratch = start_call(function, CALL_ENTRY, context, &use);

	if (!scratch)
		return;
	if (caller != CALLER_PROGRAM)
		take_kernel_stack(ctx, scratch);
	if (wants_user_stack(present_task(), scratch))
		take_call_stack(ctx, scratch, use);
	emit_call(scratch, read_arguments(ctx, spec, scratch, caller == CALLER_TRACEPOINT));
	give_back(scratch);
}

static __always_inline void tell_exit(__u32 function, __u64 context, __u64 entered_ns, __u64 result, bool has_result)
{
	__u32 use;
	struct stack_scratch *scratch = start_call(function, CALL_EXIT, context, &use);

	if (!scratch)
		return;
	scratch->call.entered_ns = entered_ns;
	scratch->call.result = result;
	scratch->call.known = has_result;
	emit_call(scratch, false);
	give_back(scratch);
}

#endif
