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

/* Helpers */

/* What knows of an operation's bytes, where no socket hook has fired: one of the two. */
struct source {
	struct pt_regs *regs;
	struct io_kiocb *request;
};

static __always_inline bool find_buffer(struct operation *operation, struct task_struct *task, struct source source)
{
	struct user_buffer *buffer = &operation->buffer;

#ifdef AT_SYS_EXIT
	buffer->is_messages = 0;
	if (source.request)
		return find_uring_buffer(source.request, buffer);
	return find_user_buffer(source.regs, task, operation->length, buffer);
#else
	return !(task->flags & PF_KTHREAD) &&
	       find_user_buffer(present_registers(task), task, operation->length, buffer);
#endif
}

/* Finds the operation's bytes and how many of them are worth copying. */
static __always_inline void locate(struct operation *operation, struct connection *connection,
				   struct task_struct *task, struct source source)
{
	__u32 direction = operation->direction & 1, want = operation->length;

	if (connection->last_direction != direction || connection->pipelined) {
		connection->last_direction = direction;
		connection->budget[direction] = settings.head_bytes;
	}
	if (want > settings.capture_bytes)
		want = settings.capture_bytes;
	if (want > connection->budget[direction])
		want = connection->budget[direction];
	operation->buffer.base = operation->buffer.iovecs = operation->buffer.iovec_count = 0;
	if (!find_buffer(operation, task, source))
		want = 0;
	operation->want = want;
}

static __always_inline void capture(struct scratch *scratch, __u32 want)
{
	struct operation *operation = &scratch->operation;

	operation->captured = want ? copy_user_buffer(scratch, scratch_of(operation->direction), want) : 0;
	if (operation->captured < want)
		count_loss(LOSS_READ_FAULT);
}

/* A few bytes suffice where the operation may not be recorded after all. */
static __always_inline __u32 bytes_to_judge_by(const struct operation *operation, const struct connection *connection)
{
	bool may_stop = !connection->announced || settings.sample_below <= 0xffffffff;

	return may_stop && operation->want > PEEK_BYTES ? PEEK_BYTES : operation->want;
}

static __always_inline void describe_operation(struct scratch *scratch, struct connection *connection,
						struct tcp_sock *tcp, struct task_struct *task)
{
	begin_record(scratch, connection, RECORD_DATA);
	name_task(&scratch->record, connection, task);
	scratch->record.sequence = scratch->operation.sequence;
	scratch->record.flags = connection->pending | (scratch->operation.direction == SENT ? RECORD_SENT : 0);
	if (tcp)
		read_tcp_figures(&scratch->record, tcp);
}

static __always_inline void record_operation(struct scratch *scratch, struct connection *connection, struct sock *sk,
					     struct tcp_sock *tcp, struct task_struct *task)
{
	struct operation *operation = &scratch->operation;

	if (!connection->announced) {
		if (!announce(scratch, connection, sk, task))
			return;
		operation->captured = 0; /* announce() used the buffer */
	}
	if (operation->captured < operation->want)
		capture(scratch, operation->want);
	connection->budget[operation->direction & 1] -= operation->captured;
	describe_operation(scratch, connection, tcp, task);
	emit_operation(scratch, connection);
}

#ifndef AT_SYS_EXIT

/* Leaves the operation to handle_uring_complete(), which knows its buffer. */
static __always_inline void defer_operation(struct scratch *scratch, struct connection *connection, struct sock *sk,
					    struct tcp_sock *tcp, struct task_struct *task)
{
	struct uring_key key = {(__u64)sk, task->pid, scratch->operation.direction};
	struct uring_operation waiting = {};

	if (!judge_unseen(connection, scratch->operation.direction))
		return;
	if (!connection->announced && !announce(scratch, connection, sk, task))
		return;
	describe_operation(scratch, connection, tcp, task);
	connection->pending = 0;
	waiting.record = scratch->record;
	waiting.record.length = scratch->operation.length;
	waiting.want = waiting.record.length < settings.capture_bytes ? waiting.record.length : settings.capture_bytes;
	bpf_map_update_elem(&uring_operations, &key, &waiting, BPF_ANY);
}

#endif

static __always_inline void handle_transfer(struct sock *sk, __u32 length, enum direction direction, bool is_tcp,
					    struct source source)
{
	struct task_struct *task = present_task();
	struct connection *connection;
	struct scratch *scratch;
	struct tcp_sock *tcp;
	__u32 end;

	connection = get_connection(sk, READ(task, tgid));
	if (!connection)
		return;
	count_hit(HIT_OPERATIONS);
	if (connection->policy == POLICY_OFF)
		return;
	if (!is_tcp)
		connection->next[direction & 1] += length;
	if (is_left_out(connection, direction) &&
	    (connection->verdict != VERDICT_LOSE || direction != connection->request_direction))
		return;
	tcp = is_tcp ? AS(tcp_sock, sk) : NULL;
	end = end_sequence(tcp, connection, direction);
	scratch = get_scratch(scratch_of(direction));
	if (!scratch || advised_to_skip(connection, direction, end))
		return;
	scratch->operation.length = length;
	scratch->operation.direction = direction;
	scratch->operation.sequence = end - length;
#ifndef AT_SYS_EXIT
	if (is_uring_operation(task, sk)) {
		defer_operation(scratch, connection, sk, tcp, task);
		return;
	}
#endif
	locate(&scratch->operation, connection, task, source);
	if (connection->verdict == VERDICT_LOSE && !connection->answered) { /* a pipeline goes on */
		capture(scratch, scratch->operation.want);
		count_if_request(connection, direction, scratch->data, scratch->operation.captured);
		return;
	}
	capture(scratch, bytes_to_judge_by(&scratch->operation, connection));
	/* behind an interim answer the request goes on: nothing new begins */
	if (direction != connection->request_direction && is_interim(scratch->data, scratch->operation.captured))
		connection->answered = 0;
	if (classify(connection, direction, scratch->data, scratch->operation.captured))
		record_operation(scratch, connection, sk, tcp, task);
	else
		disappoint(connection);
}

/* A step in a connection's life that carries no bytes; told only where userspace knows the connection. */
static __always_inline void tell(struct connection *connection, __u16 kind, __u16 flags, __u32 sequence, __u32 length)
{
	struct scratch *scratch = get_scratch(SCRATCH_STATE);

	if (!scratch)
		return;
	begin_record(scratch, connection, kind);
	scratch->record.flags = flags | connection->pending;
	scratch->record.sequence = sequence;
	scratch->record.length = length;
	if (emit(scratch, 0))
		count_loss(LOSS_RECORDS);
}

/* Unix sockets have no state changes to hook: who reads that the peer is gone tells of both ends. */
static __always_inline void handle_unix_end(struct sock *sk, struct connection *connection)
{
	struct sock *other = READ(AS(unix_sock, sk), peer);
	struct connection peer = {};

	tell(connection, RECORD_END, 0, connection->next[RECEIVED], 0);
	if (!other || !(READ(other, __sk_common.skc_flags) & SOCK_DEAD_BIT))
		return;
	tell(connection, RECORD_CLOSE, 0, connection->next[SENT], connection->next[RECEIVED]);
	peer.id = id_of_dead(other);
	if (peer.id)
		tell(&peer, RECORD_CLOSE, 0, connection->next[RECEIVED], connection->next[SENT]);
	connection->announced = 0;
	connection->policy = POLICY_OFF;
}

/* A read of nothing: the peer will send no more. */
static __always_inline void handle_end_of_stream(struct sock *sk, bool is_tcp)
{
	struct connection *connection;

	if (!is_target(bpf_get_current_pid_tgid() >> 32))
		return;
	if (!(READ(sk, sk_shutdown) & RCV_SHUTDOWN) && is_tcp)
		return;
	connection = find_connection(sk);
	if (!connection || !connection->announced)
		return;
	if (is_tcp)
		tell(connection, RECORD_END, 0, end_sequence(AS(tcp_sock, sk), connection, RECEIVED), 0);
	else
		handle_unix_end(sk, connection);
}

static __always_inline bool is_traced_stream(struct sock *sk, bool *is_tcp)
{
	__u16 family = READ(sk, __sk_common.skc_family);

	*is_tcp = family != AF_UNIX;
	if (family != AF_UNIX && family != AF_INET && family != AF_INET6)
		return false;
	if (READ(sk, sk_type) != SOCK_STREAM)
		return false;
	return family == AF_UNIX || READ(sk, sk_protocol) == IPPROTO_TCP;
}

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
