/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * What a walk that could not go on would have needed: the registers where it ended, and the stack behind them.
 *
 * A program that has just been started is not known yet, and may be gone before it is. Userspace goes on with such a
 * walk when it knows the program (native/core/src/unwind/walk.rs).
 */
#ifndef UNIVERSAL_TRACER_STACK_REST_H
#define UNIVERSAL_TRACER_STACK_REST_H

#define REST_BYTES 16384
#define REST_PIECE 4096 /* no page is larger that could be missing alone */
#define REST_PIECES 5

struct stack_rest {
	struct sample sample; /* that of the record that follows, with a kind of its own and without frames */
	__u64 pc;
	__u64 sp;
	__u64 fp;
	__u64 lr;
	__u32 bytes; /* of the stack from `sp` on */
	__u8 is_call;
	__u8 reserved[3];
};

struct kept_rest {
	struct stack_rest rest;
	__u8 stack[REST_BYTES];
};

/* One for samples, one for the ends of calls: the first may interrupt the second. */
enum stack_rest_use { REST_OF_SAMPLE = 0, REST_OF_CALL_END = 1, STACK_REST_USES = 2 };

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, STACK_REST_USES);
	__type(key, __u32);
	__type(value, struct kept_rest);
} stack_rests SEC(".maps");

/* Up to the first page that is not there. */
static __always_inline __u32 copy_stack(__u8 *to, __u64 sp)
{
	__u32 copied = 0;

	for (int piece = 0; piece < REST_PIECES; piece++) {
		__u32 bytes = REST_PIECE - ((sp + copied) & (REST_PIECE - 1));

		if (copied > REST_BYTES - REST_PIECE)
			break;
		if (bpf_probe_read_user(&to[copied], bytes, (void *)(sp + copied)))
			break;
		copied += bytes;
	}
	return copied;
}

/* Before the sample itself; marks it. A ring that is half full has no room for stacks. */
static __always_inline void emit_rest(struct stack_scratch *scratch, __u32 use)
{
	const struct user_registers *registers = &scratch->registers;
	struct kept_rest *kept;
	struct stack_rest *rest;
	__u32 bytes;

	if (scratch->sample.end != END_NO_MAPPING && scratch->sample.end != END_NO_TABLE)
		return;
	if (bpf_ringbuf_query(&samples, BPF_RB_AVAIL_DATA) > settings.ring_bytes / 2)
		return;
	kept = bpf_map_lookup_elem(&stack_rests, &use);
	if (!kept)
		return;
	rest = &kept->rest;
	rest->sample = scratch->sample;
	rest->sample.kind = SAMPLE_REST;
	rest->sample.kernel_frames = rest->sample.user_frames = 0;
	rest->pc = registers->pc;
	rest->sp = registers->sp;
	rest->fp = registers->fp;
	rest->lr = registers->lr;
	rest->is_call = registers->is_call;
	bytes = copy_stack(kept->stack, registers->sp);
	rest->bytes = bytes;
	if (bytes > REST_BYTES)
		return;
	if (!bpf_ringbuf_output(&samples, kept, sizeof(*rest) + bytes, BPF_RB_NO_WAKEUP))
		scratch->sample.flags |= SAMPLE_HAS_REST;
}

static __always_inline void walk_and_keep_rest(struct stack_scratch *scratch, __u32 use, __u32 rest_use,
					       struct task_struct *task)
{
	walk_user_stack(scratch, use, task);
	emit_rest(scratch, rest_use);
}

#endif
