/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * What a system call that ends has done with a socket's bytes: for kernels
 * whose sockets have no hooks of their own (adapter.h).
 */
#ifndef UNIVERSAL_TRACER_CALL_END_H
#define UNIVERSAL_TRACER_CALL_END_H

#define MAX_MESSAGES 64 /* of sendmmsg and recvmmsg; on a stream more than a few are unheard of */

struct transfer {
	__u32 descriptor;
	__u32 length;
	__u32 direction; /* enum direction */
};

/* In a map, so that the verifier takes all of it for unknown and follows what comes next once. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct transfer);
} transfers SEC(".maps");

/* Bytes that sendmmsg or recvmmsg moved, which returns how many messages; global: see http_search.h. */
__noinline int bytes_of_messages(__u64 vector, __u32 count)
{
	__u32 bytes = 0, length;

	for (__u32 i = 0; i < MAX_MESSAGES && i < count; i++) {
		__u64 message = vector + i * sizeof(struct user_multi_message);

		if (bpf_probe_read_user(&length, sizeof(length), (void *)(message + sizeof(struct user_message))))
			break;
		bytes += length;
	}
	return bytes;
}

/* What most of the machine's calls are told by, before anything costs. */
static __always_inline bool is_transfer(struct pt_regs *regs)
{
	switch (SYSCALL_NUMBER(regs)) {
	case NR_READ:
	case NR_READV:
	case NR_RECVFROM:
	case NR_RECVMSG:
	case NR_RECVMMSG:
	case NR_WRITE:
	case NR_WRITEV:
	case NR_SENDTO:
	case NR_SENDMSG:
	case NR_SENDMMSG:
	case NR_SENDFILE:
	case NR_SPLICE:
		return true;
	default:
		return false;
	}
}

/* Fills `transfer`; NEITHER where the call has moved no bytes of a descriptor. */
static __always_inline void read_transfer(struct pt_regs *regs, __u32 result, struct transfer *transfer)
{
	transfer->descriptor = SYSCALL_ARGUMENT_1(regs);
	transfer->length = result;
	transfer->direction = NEITHER;
	switch (SYSCALL_NUMBER(regs)) {
	case NR_READ:
	case NR_READV:
		transfer->direction = RECEIVED;
		return;
	case NR_RECVMSG:
		transfer->direction = SYSCALL_ARGUMENT_3(regs) & MSG_PEEK ? NEITHER : RECEIVED;
		return;
	case NR_RECVMMSG:
		transfer->length = bytes_of_messages(SYSCALL_ARGUMENT_2(regs), result);
		/* fall through */
	case NR_RECVFROM:
		transfer->direction = SYSCALL_ARGUMENT_4(regs) & MSG_PEEK ? NEITHER : RECEIVED;
		return;
	case NR_SENDMMSG:
		transfer->length = bytes_of_messages(SYSCALL_ARGUMENT_2(regs), result);
		transfer->direction = SENT;
		return;
	case NR_SPLICE:
		transfer->descriptor = SYSCALL_ARGUMENT_3(regs);
		/* fall through */
	case NR_WRITE:
	case NR_WRITEV:
	case NR_SENDTO:
	case NR_SENDMSG:
	case NR_SENDFILE:
		transfer->direction = SENT;
		return;
	}
}

#endif
