// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/*
 * HTTP tracer: recognises HTTP on stream sockets and ships socket operations.
 *
 * Hooks: sock_send_length and sock_recv_length (the end of each socket
 * operation, nothing else on the machine pays), inet_sock_set_state (a
 * connection's birth and death), fork, exec, exit and cgroup moves of targets.
 * http_tracer_sys_exit.bpf.c makes a second object of the same handlers for
 * kernels without the first two: adapter.h.
 * An operation of another process costs a hash look-up, one on a connection that
 * is not HTTP a look-up more; docs/BENCHMARKS.md has the figures.
 *
 * The kernel decides per request whether it is recorded (sampling, room in the
 * ring) and native/core parses: no protocol state beyond that lives here.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include "compat.h"
#include "adapter.h"
#include "records.h"

/* Limits */
#define CAPTURE_LIMIT 4096	  /* bytes per record; settings.capture_bytes is at most this */
#define LARGE_RECORD 1024	  /* bytes */
#ifdef AT_SYS_EXIT
#define PIECE_BYTES CAPTURE_LIMIT /* few and large: the verifier follows each of them */
#define MAX_PIECES 16
#else
#define PIECE_BYTES settings.capture_bytes
#define MAX_PIECES 1024		  /* records per operation: 64 KiB of head in pieces of 64 bytes */
#endif
#define PEEK_BYTES 32		  /* enough to tell what an operation begins with */
#define MAX_PEEKS 1024		  /* operations of an older connection that are searched for a message */
#define ADVICE_SLOTS 65536	  /* connections that userspace can advise at once */

/* Settings, fixed before load: see native/core/src/settings.rs. */
struct http_settings {
	__u32 self_pid;	     /* the tracer, never traced */
	__u8 filter;	     /* trace `targets` only */
	__u8 has_names;	     /* target_names is not empty */
	__u8 by_interface;   /* trace connections with one of `local_addresses` only */
	__u8 reserved;
	__u32 capture_bytes; /* per record */
	__u32 head_bytes;    /* per message and direction before copying stops by itself */
	__u64 sample_below;  /* a request is recorded when 32 random bits are below */
	__u64 ring_bytes;
	__u32 net_namespace; /* the tracer's own, where its interfaces are */
	__u32 reserved_too;
};
const volatile struct http_settings settings SEC(".rodata.settings");

#include "shared_maps.h"
#include "targets.h"
#include "interfaces.h"
#include "user_buffer.h"
#include "descriptors.h"
#include "http_recognise.h"
#include "http_state.h"
#include "io_uring.h"
#include "http_storage.h"
#include "http_emit.h"
#include "http_capture.h"
#include "http_search.h"
#include "http_connection.h"
#include "http_judge.h"
#include "http_pieces.h"
#include "call_end.h"
#include "http_transfer.h"
#include "http_ending.h"

/* Handlers */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(handle_state, struct sock *sk, int old, int state)
{
	bool is_tcp, unfinished, reset;
	struct connection *connection;
	struct tcp_sock *tcp;

	if (!is_traced_stream(sk, &is_tcp) || !is_tcp)
		return 0;
	if (state == STATE_ESTABLISHED) {
		connection = make_connection(sk);
		if (!connection)
			return 0;
		connection->opened_ns = bpf_ktime_get_ns();
		connection->born = old == STATE_SYN_SENT ? RECORD_CLIENT : RECORD_SERVER;
		return 0;
	}
	if (state != STATE_FIN_WAIT1 && state != STATE_LAST_ACK && state != STATE_CLOSE)
		return 0;
	connection = find_connection(sk);
	if (!connection || !connection->announced)
		return 0;
	tcp = AS(tcp_sock, sk);
	if (state != STATE_CLOSE) {
		tell(connection, RECORD_END, RECORD_SENT, READ(tcp, write_seq), 0);
		return 0;
	}
	unfinished = old == STATE_ESTABLISHED || old == STATE_CLOSE_WAIT;
	reset = unfinished || old == STATE_FIN_WAIT1 || READ(sk, sk_err) == ECONNRESET;
	/* a FIN that was sent has a sequence number of its own */
	tell(connection, RECORD_CLOSE, reset ? RECORD_RESET : 0, READ(tcp, write_seq) - !unfinished,
	     end_sequence(tcp, connection, RECEIVED));
	connection->announced = 0;
	connection->policy = POLICY_OFF;
	return 0;
}

#ifdef AT_SYS_EXIT

/* The end of every system call of the machine: what is no target's transfer leaves after a few instructions. */
SEC("tp_btf/sys_exit")
int BPF_PROG(handle_call_end, struct pt_regs *regs, long result)
{
	struct task_struct *task = present_task();
	struct source source = {.regs = regs};
	struct transfer *transfer;
	__u32 first = 0;
	struct file *file;
	struct sock *sk;
	bool is_tcp;

	if (result < 0 || !is_transfer(regs))
		return 0;
	transfer = bpf_map_lookup_elem(&transfers, &first);
	if (!transfer || !is_target(bpf_get_current_pid_tgid() >> 32) || IS_COMPAT_CALL(task))
		return 0;
	read_transfer(regs, result, transfer);
	if (transfer->direction == NEITHER)
		return 0;
	file = file_of_descriptor(task, transfer->descriptor);
	if (!file || !is_socket(file))
		return 0;
	sk = sock_of_file(file);
	if (!sk || !is_traced_stream(sk, &is_tcp))
		return 0;
	if (transfer->length)
		handle_transfer(sk, transfer->length, transfer->direction & 1, is_tcp, source);
	else if (transfer->direction == RECEIVED)
		handle_end_of_stream(sk, is_tcp);
	return 0;
}

/* What `request` (struct io_kiocb) of a ring has moved; it knows socket and buffer. */
static __always_inline void finish_uring_operation(void *request, __s32 result)
{
	struct io_kiocb *kiocb = request;
	struct source source = {.request = kiocb};
	enum direction direction;
	struct file *file;
	struct sock *sk;
	bool is_tcp;

	if (!request || result <= 0 || !is_target(bpf_get_current_pid_tgid() >> 32))
		return;
	direction = direction_of_request(kiocb);
	file = READ(kiocb, file);
	if (direction == NEITHER || !file || !is_socket(file))
		return;
	sk = sock_of_file(file);
	if (sk && is_traced_stream(sk, &is_tcp))
		handle_transfer(sk, result, direction, is_tcp, source);
}

#else

SEC("tp_btf/sock_recv_length")
int BPF_PROG(handle_receive, struct sock *sk, int result, int flags)
{
	bool is_tcp;

	if (result < 0 || (flags & MSG_PEEK) || !is_traced_stream(sk, &is_tcp))
		return 0;
	if (result == 0)
		handle_end_of_stream(sk, is_tcp);
	else
		handle_transfer(sk, result, RECEIVED, is_tcp, (struct source){});
	return 0;
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(handle_send, struct sock *sk, int result, int flags)
{
	bool is_tcp;

	if (result > 0 && is_traced_stream(sk, &is_tcp))
		handle_transfer(sk, result, SENT, is_tcp, (struct source){});
	return 0;
}

/* The record that the socket's hook left for `request` (struct io_kiocb), whose buffer is known now. */
static __always_inline void finish_uring_operation(void *request, __s32 result)
{
	struct uring_key key = {.tid = (__u32)bpf_get_current_pid_tgid()};
	struct scratch *scratch = get_scratch(SCRATCH_URING);
	struct io_kiocb *kiocb = request;
	struct uring_operation *waiting;
	__u32 captured = 0;

	if (!request || !scratch || result <= 0)
		return;
	scratch->operation.buffer = (struct user_buffer){};
	key.sock = (__u64)sock_of_file(BPF_CORE_READ(kiocb, file));
	waiting = bpf_map_lookup_elem(&uring_operations, &key);
	if (!waiting) {
		key.direction = SENT;
		waiting = bpf_map_lookup_elem(&uring_operations, &key);
	}
	if (!waiting)
		return;
	scratch->record = waiting->record;
	/* a completion of several operations at once begins elsewhere in the buffer: its bytes stay unknown */
	if ((__u32)result == waiting->record.length && find_uring_buffer(kiocb, &scratch->operation.buffer))
		captured = copy_user_buffer(scratch, SCRATCH_URING, waiting->want);
	if (!captured)
		count_loss(LOSS_READ_FAULT);
	if (emit(scratch, captured))
		count_loss(LOSS_RECORDS);
	bpf_map_delete_elem(&uring_operations, &key);
}

#endif

SEC("tp_btf/io_uring_complete")
int BPF_PROG(handle_uring_complete, struct io_ring_ctx *ring, void *request, struct io_uring_cqe *completion)
{
	finish_uring_operation(request, completion->res);
	return 0;
}

/* The same before 6.13, when the tracepoint handed over the result; before 5.19 it did not know the request. */
SEC("tp_btf/io_uring_complete")
int BPF_PROG(handle_uring_result, struct io_ring_ctx *ring, void *request, __u64 user_data, int result)
{
	finish_uring_operation(request, result);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
