/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Where in the caller's memory the bytes of a socket operation lie.
 *
 * At the end of a call the saved registers still hold its arguments, and the
 * pages are resident because the kernel has just copied from or to them. Calls
 * without a user buffer (sendfile, splice, kernel threads) have none: such
 * operations are recorded with their length only.
 */
#ifndef UNIVERSAL_TRACER_USER_BUFFER_H
#define UNIVERSAL_TRACER_USER_BUFFER_H

#define MAX_IOVECS 8

struct user_iovec {
	__u64 base;
	__u64 length;
};

/* struct user_msghdr and struct mmsghdr of 64-bit processes */
struct user_message {
	__u64 name;
	__u32 name_length;
	__u32 padding;
	__u64 iovecs;
	__u64 iovec_count;
	__u64 control;
	__u64 control_length;
	__u32 flags;
	__u32 padding_2;
};

struct user_multi_message {
	struct user_message message;
	__u32 length;
	__u32 padding;
};

/* Either one range (iovecs == 0) or an array of ranges. */
struct user_buffer {
	__u64 base;
	__u64 iovecs;
	__u32 iovec_count;
};

/* A thread's place in a sendmmsg or recvmmsg call: the tracepoint fires once per message. */
struct message_cursor {
	__u64 vector;
	__u32 index;
	__u32 last_length;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct message_cursor);
} message_cursors SEC(".maps");

static __always_inline bool from_message(__u64 address, struct user_buffer *buffer)
{
	struct user_message message;

	if (bpf_probe_read_user(&message, sizeof(message), (void *)address))
		return false;
	buffer->iovecs = message.iovecs;
	buffer->iovec_count = message.iovec_count;
	return true;
}

/*
 * The kernel writes a message's length behind it once it is done. The same
 * vector seen again with that length in place means: the same call, next message.
 */
static __always_inline __u32 advance_cursor(__u64 vector, __u32 count, __u32 tid, __u32 length)
{
	struct message_cursor fresh = {.vector = vector, .last_length = length}, *cursor;
	__u32 stored = 0;

	cursor = bpf_map_lookup_elem(&message_cursors, &tid);
	if (cursor && cursor->vector == vector && cursor->index + 1 < count) {
		__u64 done = vector + cursor->index * sizeof(struct user_multi_message);

		bpf_probe_read_user(&stored, sizeof(stored), (void *)(done + sizeof(struct user_message)));
		if (stored == cursor->last_length) {
			cursor->last_length = length;
			return ++cursor->index;
		}
	}
	bpf_map_update_elem(&message_cursors, &tid, &fresh, BPF_ANY);
	return 0;
}

static __always_inline bool from_multi_message(__u64 vector, __u32 count, __u32 tid, __u32 length,
					       struct user_buffer *buffer)
{
	__u32 index = count > 1 ? advance_cursor(vector, count, tid, length) : 0;

	return from_message(vector + index * sizeof(struct user_multi_message), buffer);
}

/* Fills `buffer` from the present system call's arguments; false: none known. */
static __always_inline bool find_user_buffer(struct task_struct *task, __u32 length, struct user_buffer *buffer)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
	__u64 second = SYSCALL_ARGUMENT_2(regs), third = SYSCALL_ARGUMENT_3(regs);

	if (IS_COMPAT_CALL(task))
		return false;
	switch (SYSCALL_NUMBER(regs)) {
	case NR_READ:
	case NR_WRITE:
	case NR_SENDTO:
	case NR_RECVFROM:
		buffer->base = second;
		return true;
	case NR_READV:
	case NR_WRITEV:
		buffer->iovecs = second;
		buffer->iovec_count = third;
		return true;
	case NR_SENDMSG:
	case NR_RECVMSG:
		return from_message(second, buffer);
	case NR_SENDMMSG:
	case NR_RECVMMSG:
		return from_multi_message(second, third, task->pid, length, buffer);
	default:
		return false;
	}
}

/* Copies of an array of ranges as much as is wanted, behind what was copied before; false: that was all. */
struct gathering {
	char *to;
	struct user_iovec ranges[MAX_IOVECS];
	__u32 want;
	__u32 done;
};

static __always_inline bool gather_range(struct gathering *gathering, const struct user_iovec *range)
{
	__u32 done = gathering->done, piece = gathering->want - done;

	if (range->length < piece)
		piece = range->length;
	if (done >= CAPTURE_LIMIT || piece > CAPTURE_LIMIT)
		return false;
	if (piece && bpf_probe_read_user(gathering->to + done, piece, (void *)range->base))
		return false;
	gathering->done = done + piece;
	return gathering->done < gathering->want;
}

static long gather_step(__u32 index, struct gathering *gathering)
{
	return index >= MAX_IOVECS || !gather_range(gathering, &gathering->ranges[index]);
}

/* Most arrays have one or two ranges, a head and a body: no loop for these. */
static __always_inline __u32 gather(char *to, __u32 want, const struct user_buffer *buffer)
{
	__u32 count = buffer->iovec_count < MAX_IOVECS ? buffer->iovec_count : MAX_IOVECS;
	struct gathering gathering;

	gathering.to = to;
	gathering.want = want;
	gathering.done = 0;
	if (bpf_probe_read_user(gathering.ranges, count * sizeof(struct user_iovec), (void *)buffer->iovecs))
		return 0;
	if (count > 2)
		bpf_loop(count, gather_step, &gathering, 0);
	else if (count && gather_range(&gathering, &gathering.ranges[0]) && count > 1)
		gather_range(&gathering, &gathering.ranges[1]);
	return gathering.done;
}

/*
 * Copies up to `want` bytes of the buffer to `to`, which holds CAPTURE_LIMIT
 * bytes and as many again as slack, so that the verifier can bound each piece by itself.
 * Returns how many were copied; fewer than `want` where memory could not be read.
 */
static __always_inline __u32 copy_user_buffer(char *to, __u32 want, const struct user_buffer *buffer)
{
	if (want > CAPTURE_LIMIT)
		return 0;
	if (buffer->iovecs)
		return gather(to, want, buffer);
	return bpf_probe_read_user(to, want, (void *)buffer->base) ? 0 : want;
}

#endif
