/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Operations of io_uring: the registers of the present call say nothing about
 * them, the request does. The socket hooks leave such an operation here, and
 * io_uring_complete, which follows in the same thread and knows the user's
 * buffer, turns it into a record. Nothing of this runs for threads without a ring.
 * Where there are no socket hooks (adapter.h) the completion is the operation.
 */
#ifndef UNIVERSAL_TRACER_IO_URING_H
#define UNIVERSAL_TRACER_IO_URING_H

#define MAX_PENDING_OPERATIONS 4096

enum uring_opcode {
	URING_READV = 1, URING_WRITEV = 2, URING_SENDMSG = 9, URING_RECVMSG = 10,
	URING_READ = 22, URING_WRITE = 23, URING_SEND = 26, URING_RECV = 27,
	URING_SEND_ZC = 47, URING_SENDMSG_ZC = 48,
};

#ifndef AT_SYS_EXIT

struct uring_key {
	__u64 sock;
	__u32 tid;
	__u32 direction;
};

/* An operation that waits for its completion. */
struct uring_operation {
	struct record record;
	__u32 want;
	__u32 reserved;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_PENDING_OPERATIONS);
	__type(key, struct uring_key);
	__type(value, struct uring_operation);
} uring_operations SEC(".maps");

/*
 * Whether a ring carries this operation. A ring's work may also run at the end
 * of an unrelated call of its thread, so the call must be one on this very socket.
 */
static __always_inline bool is_uring_operation(struct task_struct *task, struct sock *sk)
{
	if (task->flags & PF_IO_WORKER)
		return true;
	return task->io_uring && sock_of_descriptor(task, SYSCALL_ARGUMENT_1(present_registers(task))) != sk;
}

#else

/* Which way a request moves a socket's bytes; NEITHER: it does something else. */
static __always_inline enum direction direction_of_request(struct io_kiocb *request)
{
	switch (READ(request, opcode)) {
	case URING_READ:
	case URING_READV:
	case URING_RECV:
	case URING_RECVMSG:
		return RECEIVED;
	case URING_WRITE:
	case URING_WRITEV:
	case URING_SEND:
	case URING_SEND_ZC:
	case URING_SENDMSG:
	case URING_SENDMSG_ZC:
		return SENT;
	default:
		return NEITHER;
	}
}

#endif

/* The buffer of a request; false: none that user memory holds in one known place. */
static __always_inline bool find_uring_buffer(struct io_kiocb *request, struct user_buffer *buffer)
{
	struct io_sr_msg *message = (struct io_sr_msg *)request;
	struct io_rw *transfer = (struct io_rw *)request;

	switch (BPF_CORE_READ(request, opcode)) {
	case URING_SEND:
	case URING_SEND_ZC:
	case URING_RECV:
		buffer->base = (__u64)BPF_CORE_READ(message, buf);
		return true;
	case URING_READ:
	case URING_WRITE:
		buffer->base = BPF_CORE_READ(transfer, addr);
		return true;
	case URING_READV:
	case URING_WRITEV:
		buffer->iovecs = BPF_CORE_READ(transfer, addr);
		buffer->iovec_count = BPF_CORE_READ(transfer, len);
		return true;
	case URING_SENDMSG:
	case URING_SENDMSG_ZC:
	case URING_RECVMSG:
		return from_message((__u64)BPF_CORE_READ(message, umsg), buffer);
	default:
		return false;
	}
}

#endif
