/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Calls of functions: their entries and exits as records, and their number and latency as counts.
 *
 * Which exit belongs to which entry is never guessed. Where the kernel keeps a call's return address it keeps the time
 * of the entry beside it (uprobe.session); else the frame's address says it: a function returns from where it entered.
 * What was left by an exception, longjmp or the end of a thread has an entry and no exit.
 *
 * These programs may be preempted, so that all counters are atomic and records are made in one of several places.
 */
#ifndef UNIVERSAL_TRACER_CALLS_H
#define UNIVERSAL_TRACER_CALLS_H

#define MAX_RETRIES 4

static __always_inline void add_atomically(__u64 *sum, __u64 more)
{
	__sync_fetch_and_add(sum, more);
}

static __always_inline void count_call_loss(__u32 place)
{
	__u64 *count = bpf_map_lookup_elem(&losses, &place);

	if (count)
		add_atomically(count, 1);
}

/* Counts */

static __always_inline __u32 log2_of(__u64 value)
{
	__u32 log = 0;

	if (value >> 32) { log += 32; value >>= 32; }
	if (value >> 16) { log += 16; value >>= 16; }
	if (value >> 8) { log += 8; value >>= 8; }
	if (value >> 4) { log += 4; value >>= 4; }
	if (value >> 2) { log += 2; value >>= 2; }
	return log + (value >> 1);
}

static __always_inline __u32 latency_bucket(__u64 ns)
{
	__u32 log = log2_of(ns), bucket = ns;

	if (log >= LATENCY_STEPS)
		bucket = ((log - LATENCY_STEPS + 1) << LATENCY_STEPS) |
			 ((ns >> (log - LATENCY_STEPS)) & ((1 << LATENCY_STEPS) - 1));
	return bucket < LATENCY_BUCKETS ? bucket : LATENCY_BUCKETS - 1;
}

static __always_inline struct call_counts *find_counts(__u32 function, __u32 pid)
{
	struct counted_calls key = {function, pid};
	struct call_counts *counts = bpf_map_lookup_elem(&call_counts, &key);
	__u32 first = 0;
	void *empty;

	if (counts)
		return counts;
	empty = bpf_map_lookup_elem(&no_calls, &first);
	if (empty)
		bpf_map_update_elem(&call_counts, &key, empty, BPF_NOEXIST);
	counts = bpf_map_lookup_elem(&call_counts, &key);
	if (counts)
		bpf_get_current_comm(counts->comm, sizeof(counts->comm));
	else
		count_call_loss(LOSS_CALL_COUNTS);
	return counts;
}

static __always_inline void count_entry(__u32 function, __u32 pid)
{
	struct call_counts *counts = find_counts(function, pid);

	if (counts)
		add_atomically(&counts->entries, 1);
}

static __always_inline void count_exit(__u32 function, __u32 pid, __u64 duration_ns)
{
	struct call_counts *counts = find_counts(function, pid);
	__u64 longest, seen;

	if (!counts)
		return;
	add_atomically(&counts->exits, 1);
	add_atomically(&counts->total_ns, duration_ns);
	add_atomically(&counts->buckets[latency_bucket(duration_ns)], 1);
	longest = counts->max_ns;
	for (int turn = 0; turn < MAX_RETRIES && duration_ns > longest; turn++) {
		seen = __sync_val_compare_and_swap(&counts->max_ns, longest, duration_ns);
		if (seen == longest)
			break;
		longest = seen;
	}
}

/* Records */

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

static __always_inline bool read_register(void *ctx, __u16 at, __u64 *value)
{
	return !bpf_probe_read_kernel(value, sizeof(*value), ctx + at);
}

/* Of a tracepoint's record. */
static __always_inline bool read_field(void *ctx, const struct value_spec *spec, __u64 *value)
{
	__u32 bytes = spec->bytes;

	*value = 0;
	if (spec->place != PLACE_FIELD || bytes > sizeof(*value))
		return false;
	return !bpf_probe_read_kernel(value, bytes, ctx + spec->base);
}

static __always_inline bool read_value(void *ctx, const struct value_spec *spec, __u64 *value)
{
	__u64 at = 0, index = 0;

	switch (spec->place) {
	case PLACE_REGISTER:
		return read_register(ctx, spec->base, value);
	case PLACE_CONSTANT:
		*value = spec->constant;
		return true;
	case PLACE_STACK:
		at = PT_REGS_SP((struct pt_regs *)ctx);
		break;
	case PLACE_MEMORY:
		if (!read_register(ctx, spec->base, &at))
			return false;
		break;
	case PLACE_INDEXED:
		if (!read_register(ctx, spec->base, &at) || !read_register(ctx, spec->index, &index))
			return false;
		at += index << (spec->shift & 63);
		break;
	case PLACE_RELATIVE:
		at = PT_REGS_IP((struct pt_regs *)ctx) + spec->constant;
		break;
	default:
		return false;
	}
	return !bpf_probe_read_user(value, sizeof(*value), (void *)at + spec->offset);
}

/* `to` has TEXT_BYTES, and ends with 0 afterwards. */
static __always_inline bool read_text(void *ctx, const struct argument_spec *spec, __u64 value, char *to)
{
	__u64 length = 0;

	if (spec->kind == TEXT_ENDED)
		return bpf_probe_read_user_str(to, TEXT_BYTES, (void *)value) > 0;
	if (spec->kind == TEXT_IN_KERNEL)
		return bpf_probe_read_kernel_str(to, TEXT_BYTES, (void *)value) > 0;
	if (spec->kind != TEXT_COUNTED || !read_value(ctx, &spec->length, &length))
		return false;
	if (length > TEXT_BYTES - 1)
		length = TEXT_BYTES - 1;
	to[length & (TEXT_BYTES - 1)] = 0;
	return !bpf_probe_read_user(to, length & (TEXT_BYTES - 1), (void *)value);
}

static __always_inline bool read_field_text(void *ctx, const struct argument_spec *spec, __u64 value, char *to)
{
	__u32 length = spec->value.bytes;

	if (spec->kind == TEXT_DYNAMIC)
		return bpf_probe_read_kernel_str(to, TEXT_BYTES, ctx + (value & 0xffff)) > 0;
	if (spec->kind == TEXT_ENDED) /* the field points to it */
		return bpf_probe_read_user_str(to, TEXT_BYTES, (void *)value) > 0;
	if (length > TEXT_BYTES - 1)
		length = TEXT_BYTES - 1;
	to[length & (TEXT_BYTES - 1)] = 0;
	return !bpf_probe_read_kernel(to, length & (TEXT_BYTES - 1), ctx + spec->value.base);
}

/* Returns whether the call has texts. `is_record`: the context is a tracepoint's record, and no registers. */
static __always_inline bool read_arguments(void *ctx, const struct function_spec *spec, struct stack_scratch *scratch,
					   bool is_record)
{
	bool has_texts = false;
	__u32 text;

	for (__u32 index = 0; index < MAX_ARGUMENTS; index++) {
		const struct argument_spec *argument = &spec->argument[index];
		__u64 *value = &scratch->call.arguments[index];

		if (index >= spec->arguments)
			break;
		if (is_record ? argument->kind != TEXT_CHARACTERS && !read_field(ctx, &argument->value, value) :
				!read_value(ctx, &argument->value, value))
			continue;
		scratch->call.known |= 1 << index;
		if (argument->kind == TEXT_NONE)
			continue;
		text = argument->text & (MAX_TEXTS - 1);
		has_texts = true;
		if (is_record ? read_field_text(ctx, argument, *value, scratch->texts.text[text]) :
				read_text(ctx, argument, *value, scratch->texts.text[text]))
			scratch->call.known |= 1 << (MAX_ARGUMENTS + text);
	}
	return has_texts;
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

static __always_inline void tell_entry(void *ctx, const struct function_spec *spec, __u32 function, __u64 context,
				       bool in_kernel)
{
	struct stack_scratch *scratch;
	__u32 use;

	if (!settings.call_events)
		return;
	scratch = take_call_scratch(&use);
	if (!scratch)
		return;
	begin_call(scratch, function, CALL_ENTRY, context);
	if (in_kernel)
		take_kernel_stack(ctx, scratch);
	if (wants_user_stack(present_task(), scratch))
		take_call_stack(ctx, scratch, use);
	emit_call(scratch, read_arguments(ctx, spec, scratch, false));
	give_back(scratch);
}

static __always_inline void tell_exit(__u32 function, __u64 context, __u64 entered_ns, __u64 result, bool has_result)
{
	struct stack_scratch *scratch;
	__u32 use;

	if (!settings.call_events)
		return;
	scratch = take_call_scratch(&use);
	if (!scratch)
		return;
	begin_call(scratch, function, CALL_EXIT, context);
	scratch->call.entered_ns = entered_ns;
	scratch->call.result = result;
	scratch->call.known = has_result;
	emit_call(scratch, false);
	give_back(scratch);
}

#endif
