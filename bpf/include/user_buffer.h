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

/* Either one range (iovecs == 0) or an array of ranges; at sys_exit also an array of messages. */
struct user_buffer {
	__u64 base;
	__u64 iovecs;
	__u32 iovec_count;
#ifdef AT_SYS_EXIT
	__u32 is_messages;
#endif
};

static __always_inline bool from_message(__u64 address, struct user_buffer *buffer)
{
	struct user_message message;

	if (bpf_probe_read_user(&message, sizeof(message), (void *)address))
		return false;
	buffer->iovecs = message.iovecs;
	buffer->iovec_count = message.iovec_count;
	return true;
}

#ifdef AT_SYS_EXIT

/* All messages of a call are one operation here: `result` is how many it moved. */
static __always_inline bool from_multi_message(__u64 vector, __u32 count, __u32 tid, __u32 length,
					       struct user_buffer *buffer)
{
	buffer->iovecs = vector;
	buffer->iovec_count = count;
	buffer->is_messages = 1;
	return true;
}

/* The first range of each message; of one message alone all of its ranges. */
static __always_inline __u32 read_first_ranges(struct user_iovec *ranges, const struct user_buffer *buffer)
{
	struct user_buffer message = {};
	__u32 count = 0;

	for (__u32 i = 0; i < MAX_IOVECS && i < buffer->iovec_count; i++) {
		__u64 address = buffer->iovecs + i * sizeof(struct user_multi_message);

		if (!from_message(address, &message) || !message.iovec_count)
			break;
		if (bpf_probe_read_user(&ranges[i], sizeof(ranges[i]), (void *)message.iovecs))
			break;
		count = i + 1;
	}
	return count;
}

#else

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

#endif

/* Fills `buffer` from a system call's arguments; false: none known. */
static __always_inline bool find_user_buffer(struct pt_regs *regs, struct task_struct *task, __u32 length,
					     struct user_buffer *buffer)
{
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
		return from_multi_message(second, third, READ(task, pid), length, buffer);
	default:
		return false;
	}
}

#endif
