// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/*
 * HTTP tracer: recognises HTTP on stream sockets and ships socket operations.
 *
 * Hooks: sock_send_length and sock_recv_length (the end of each socket
 * operation, nothing else on the machine pays), inet_sock_set_state (a
 * connection's birth and death), fork, exec, exit and cgroup moves of targets.
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
#include "records.h"

/* Limits */
#define CAPTURE_LIMIT 4096	  /* bytes per record; settings.capture_bytes is at most this */
#define LARGE_RECORD 1024	  /* bytes */
#define MAX_PIECES 1024		  /* records per operation: 64 KiB of head in pieces of 64 bytes */
#define PEEK_BYTES 32		  /* enough to tell what an operation begins with */
#define MAX_PEEKS 1024		  /* operations of an older connection that are searched for a message */
#define ADVICE_SLOTS 65536	  /* connections that userspace can advise at once */

/* Settings, fixed before load: see native/core/src/settings.rs. */
struct http_settings {
	__u32 self_pid;	     /* the tracer, never traced */
	__u8 filter;	     /* trace `targets` only */
	__u8 has_names;	     /* target_names is not empty */
	__u8 reserved[2];
	__u32 capture_bytes; /* per record */
	__u32 head_bytes;    /* per message and direction before copying stops by itself */
	__u64 sample_below;  /* a request is recorded when 32 random bits are below */
	__u64 ring_bytes;
};
const volatile struct http_settings settings SEC(".rodata.settings");

#include "shared_maps.h"
#include "targets.h"
#include "user_buffer.h"
#include "io_uring.h"
#include "http_recognise.h"

/* Maps */
enum policy { POLICY_UNKNOWN = 0, POLICY_HTTP = 1, POLICY_OFF = 2 };
enum verdict {
	VERDICT_NONE = 0,
	VERDICT_RECORD = 1,
	VERDICT_SKIP = 2, /* left out by sampling */
	VERDICT_LOSE = 3, /* left out for want of room, to be counted */
};
enum direction { RECEIVED = 0, SENT = 1, NEITHER = 2 };

/* What the kernel knows of a connection; lives and dies with the socket. */
struct connection {
	__u64 id;
	__u64 opened_ns;
	__u32 next[2];	    /* Unix sockets: bytes moved since the first sight, per direction */
	__u32 budget[2];    /* bytes of the present message that may still be copied */
	__u32 last_tid;
	__u32 target_pid;      /* found to be a target … */
	__u32 target_removals; /* … when so many had been removed */
	__u16 pending;	    /* record flags that the next record carries */
	__u16 peeks;
	__u16 born;	    /* RECORD_CLIENT, RECORD_SERVER or RECORD_LATE */
	__u8 policy;
	__u8 verdict;	    /* on the present exchange */
	__u8 answered;	    /* bytes went against the requests since the verdict */
	__u8 request_direction;
	__u8 last_direction;
	__u8 announced;	    /* RECORD_OPEN was sent */
	__u8 pipelined;	    /* several requests came at once: every byte may be a head's */
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct connection);
} connections SEC(".maps");

/* Userspace's advice on a connection, found at its id modulo ADVICE_SLOTS. */
struct advice {
	__u64 connection; /* 0 while being written */
	__u32 skip_until[2];
	__u8 skip[2];
	__u8 off;
	__u8 pipelined;
	__u8 reserved[4];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, ADVICE_SLOTS);
	__type(key, __u32);
	__type(value, struct advice);
} advices SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 * 1024 * 1024); /* the session sets the real size */
} events SEC(".maps");

/*
 * Where a record is put together. One slot per hook: a program never interrupts
 * itself on a CPU (the kernel sees to that), but one may interrupt another.
 */
struct operation {
	struct user_buffer buffer;
	__u32 length;	/* bytes that the call moved */
	__u32 sequence; /* of the first of them */
	__u32 want;	/* bytes worth copying */
	__u32 captured; /* bytes copied to scratch.data */
	__u32 direction;
};

/*
 * The operation lies here and not on the stack, so that the verifier takes its
 * members for unknown: paths that differ in them alone are followed once.
 */
struct scratch {
	struct operation operation;
	struct record record;
	union {
		char data[2 * CAPTURE_LIMIT];
		struct endpoints endpoints; /* of RECORD_OPEN */
	};
};

enum scratch_slot { SCRATCH_RECEIVE = 0, SCRATCH_SEND = 1, SCRATCH_STATE = 2, SCRATCH_URING = 3, SCRATCH_SLOTS = 4 };

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SCRATCH_SLOTS);
	__type(key, __u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

/* Helpers */
static __always_inline bool ring_passed(__u64 used, __u32 quarters)
{
	return used > settings.ring_bytes / 4 * quarters;
}

static __always_inline __u64 ring_used(void)
{
	return bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA);
}

/* The reader drains by time; it is woken only past half of the ring, which requests and large records look at. */
static __always_inline long emit(struct scratch *scratch, __u32 captured)
{
	bool looks = captured > LARGE_RECORD || (scratch->record.flags & RECORD_START);

	if (captured > CAPTURE_LIMIT)
		captured = CAPTURE_LIMIT;
	scratch->record.captured = captured;
	return bpf_ringbuf_output(&events, &scratch->record, sizeof(struct record) + captured,
				  looks && ring_passed(ring_used(), 2) ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP);
}

static __always_inline struct scratch *get_scratch(__u32 slot)
{
	return bpf_map_lookup_elem(&scratches, &slot);
}

/*
 * The present exchange is left out from here on. Its requests are counted where
 * they begin (count_lost_requests); one that loses a later record is counted by
 * userspace, which finds it open when the next record says RECORD_LOST.
 */
static __always_inline void leave_out(struct connection *connection)
{
	connection->verdict = VERDICT_LOSE;
	connection->pending |= RECORD_LOST;
}

static __always_inline bool is_recorded(const struct connection *connection)
{
	return connection->verdict < VERDICT_SKIP;
}

static __always_inline void begin_record(struct scratch *scratch, struct connection *connection, __u16 kind)
{
	__builtin_memset(&scratch->record, 0, sizeof(scratch->record));
	scratch->record.kind = kind;
	scratch->record.connection = connection->id;
	scratch->record.time_ns = bpf_ktime_get_ns();
}

static __always_inline void name_task(struct record *record, struct connection *connection, struct task_struct *task)
{
	record->pid = task->tgid;
	record->tid = task->pid;
	if (connection->last_tid != record->tid) {
		connection->last_tid = record->tid;
		bpf_get_current_comm(record->comm, sizeof(record->comm));
	}
}

static __always_inline void read_tcp_figures(struct record *record, struct tcp_sock *tcp)
{
	record->rtt_us = tcp->srtt_us >> 3;
	record->retransmits = tcp->total_retrans;
}

static __always_inline void read_unix_path(struct sock *sk, struct endpoints *ends)
{
	struct unix_sock *own = (struct unix_sock *)sk;
	struct unix_address *address = BPF_CORE_READ(own, addr);
	__u32 length;

	if (!address) {
		struct unix_sock *peer = (struct unix_sock *)BPF_CORE_READ(own, peer);

		address = peer ? BPF_CORE_READ(peer, addr) : NULL;
	}
	if (!address)
		return;
	length = BPF_CORE_READ(address, len) - sizeof(__u16);
	if (length > UNIX_PATH_LENGTH)
		length = UNIX_PATH_LENGTH;
	ends->path_length = length;
	bpf_probe_read_kernel(ends->path, UNIX_PATH_LENGTH, (char *)address + bpf_core_field_offset(struct unix_address, name) + sizeof(__u16));
}

static __always_inline void read_endpoints(struct sock *sk, struct endpoints *ends)
{
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);

	ends->family = family;
	ends->netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	if (family == AF_UNIX) {
		read_unix_path(sk, ends);
		return;
	}
	ends->local_port = BPF_CORE_READ(sk, __sk_common.skc_num);
	ends->peer_port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	if (family == AF_INET) {
		BPF_CORE_READ_INTO((__u32 *)ends->local, sk, __sk_common.skc_rcv_saddr);
		BPF_CORE_READ_INTO((__u32 *)ends->peer, sk, __sk_common.skc_daddr);
	} else {
		BPF_CORE_READ_INTO((struct in6_addr *)ends->local, sk, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO((struct in6_addr *)ends->peer, sk, __sk_common.skc_v6_daddr);
	}
}

/* Tells userspace of a connection before its first record. */
static __always_inline bool announce(struct scratch *scratch, struct connection *connection, struct sock *sk,
				     struct task_struct *task)
{
	struct endpoints *ends = &scratch->endpoints;

	if (connection->announced)
		return true;
	begin_record(scratch, connection, RECORD_OPEN);
	connection->last_tid = 0;
	name_task(&scratch->record, connection, task);
	connection->last_tid = 0; /* the data record names its thread as well */
	scratch->record.flags = connection->born;
	__builtin_memset(ends, 0, sizeof(*ends));
	ends->opened_ns = connection->opened_ns;
	ends->cgroup = bpf_get_current_cgroup_id();
	read_endpoints(sk, ends);
	if (emit(scratch, sizeof(*ends))) {
		count_loss(LOSS_RING_FULL);
		leave_out(connection);
		return false;
	}
	connection->announced = 1;
	count_hit(HIT_CONNECTIONS);
	return true;
}

/* is_target(), remembered for the process that used the connection last. */
static __always_inline bool is_users_target(struct connection *connection, __u32 pid)
{
	__u32 *removals = target_removal_count();

	if (removals && connection->target_pid == pid && connection->target_removals == *removals)
		return true;
	if (!removals || !is_target(pid))
		return false;
	connection->target_pid = pid;
	connection->target_removals = *removals;
	return true;
}

/* The connection, if its user is to be traced. */
static __always_inline struct connection *get_connection(struct sock *sk, __u32 pid)
{
	struct connection *connection = bpf_sk_storage_get(&connections, sk, 0, 0);

	if (connection)
		return is_users_target(connection, pid) ? connection : NULL;
	if (!is_target(pid))
		return NULL;
	connection = bpf_sk_storage_get(&connections, sk, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!connection) {
		count_loss(LOSS_STORAGE);
		return NULL;
	}
	connection->id = bpf_get_socket_cookie(sk);
	connection->born = RECORD_LATE;
	connection->last_direction = NEITHER;
	return connection;
}

/* A FIN that was read together with the last bytes has a sequence number of its own. */
static __always_inline bool fin_was_read(struct tcp_sock *tcp, __u32 copied)
{
	struct sock *sk = (struct sock *)tcp;

	return (sk->sk_shutdown & RCV_SHUTDOWN) && copied == tcp->rcv_nxt;
}

/* Sequence behind the last byte that was moved; `tcp` is null for a Unix socket, whose bytes are counted. */
static __always_inline __u32 end_sequence(struct tcp_sock *tcp, const struct connection *connection,
					  enum direction direction)
{
	__u32 counted = connection->next[direction];

	barrier_var(counted); /* or clang makes one load of two kinds of pointers, which the verifier refuses */
	if (!tcp)
		return counted;
	if (direction == SENT)
		return tcp->write_seq;
	return fin_was_read(tcp, tcp->copied_seq) ? tcp->copied_seq - 1 : tcp->copied_seq;
}

/* Userspace knows that nothing below a sequence is worth a record, or that this is not HTTP. */
static __always_inline bool advised_to_skip(struct connection *connection, enum direction direction, __u32 end)
{
	__u32 slot = connection->id % ADVICE_SLOTS;
	struct advice *advice = bpf_map_lookup_elem(&advices, &slot);

	if (!advice || advice->connection != connection->id)
		return false;
	if (advice->off) {
		connection->policy = POLICY_OFF;
		return true;
	}
	if (advice->pipelined)
		connection->pipelined = 1;
	return advice->skip[direction] && (__s32)(end - advice->skip_until[direction]) < 0;
}

/* How many requests begin in the bytes: each request line has one " HTTP/1.". */
#define REQUEST_VERSION 0x2e312f5054544820ULL
struct request_search {
	const char *bytes;
	__u32 length;
	__u32 requests;
};

static long count_step(__u32 index, struct request_search *search)
{
	if (index >= CAPTURE_LIMIT || index + sizeof(__u64) > search->length)
		return 1;
	search->requests += *(const __u64 *)(search->bytes + index) == REQUEST_VERSION;
	return 0;
}

/* The requests of an operation that is left out because the ring is nearly full; it holds one at least. */
static __always_inline void count_lost_requests(const char *bytes, __u32 captured)
{
	struct request_search search = {.bytes = bytes, .length = captured};

	if (bytes)
		bpf_loop(CAPTURE_LIMIT, count_step, &search, 0);
	count_losses(LOSS_RING_FULL, search.requests ? search.requests : 1);
}

static __always_inline void count_if_request(struct connection *connection, __u32 direction, const char *bytes,
					     __u32 captured)
{
	if (direction == connection->request_direction && captured && recognise(bytes, captured) == LIKE_REQUEST)
		count_lost_requests(bytes, captured);
}

/* A new exchange begins: is it recorded? */
static __always_inline void judge(struct connection *connection, enum direction direction, const char *bytes,
				  __u32 captured)
{
	connection->request_direction = direction;
	connection->policy = POLICY_HTTP;
	connection->answered = 0;
	count_hit(HIT_REQUESTS);
	if (settings.sample_below <= 0xffffffff && bpf_get_prandom_u32() >= settings.sample_below) {
		connection->verdict = VERDICT_SKIP;
		connection->pending |= RECORD_SKIPPED;
		count_hit(HIT_SAMPLED_OUT);
		return;
	}
	connection->verdict = VERDICT_RECORD;
	if (ring_passed(ring_used(), 3)) {
		count_lost_requests(bytes, captured);
		leave_out(connection);
		return;
	}
	connection->pending |= RECORD_START;
}

/* Looks at an operation's first bytes where that can change what we think; false: no record. */
static __always_inline bool classify(struct connection *connection, enum direction direction, const char *bytes,
				     __u32 captured)
{
	bool may_begin = connection->verdict == VERDICT_NONE || connection->answered;
	enum likeness likeness;

	if (connection->policy == POLICY_HTTP && (!may_begin || direction != connection->request_direction))
		return is_recorded(connection);
	likeness = captured ? recognise(bytes, captured) : LIKE_NOTHING;
	if (likeness == LIKE_REQUEST || (likeness == LIKE_PREFIX && connection->policy == POLICY_HTTP)) {
		judge(connection, direction, bytes, captured);
		return connection->verdict == VERDICT_RECORD;
	}
	if (connection->policy == POLICY_HTTP)
		return is_recorded(connection);
	if (likeness == LIKE_RESPONSE) {
		connection->policy = POLICY_HTTP;
		connection->request_direction = !direction;
		return true;
	}
	/* what began like a message goes on until userspace advises otherwise */
	return likeness == LIKE_PREFIX || connection->announced;
}

/* Not HTTP so far: a new connection is switched off, an older one gets more chances. */
static __always_inline void disappoint(struct connection *connection)
{
	if (connection->policy != POLICY_UNKNOWN)
		return;
	if (connection->born == RECORD_LATE && ++connection->peeks < MAX_PEEKS)
		return;
	connection->policy = POLICY_OFF;
	count_hit(HIT_NOT_HTTP);
}

/* Looks for a head's end in the bytes; only where an operation is longer than a record. */
struct head_search {
	const char *bytes;
	__u32 length;
	__u32 newlines;
};

static long search_step(__u32 index, struct head_search *search)
{
	char c;

	if (index >= CAPTURE_LIMIT || index >= search->length)
		return 1;
	c = search->bytes[index];
	if (c == '\n')
		search->newlines++;
	else if (c != '\r')
		search->newlines = 0;
	return search->newlines == 2;
}

static __always_inline bool holds_whole_head(const char *bytes, __u32 length)
{
	struct head_search search = {.bytes = bytes, .length = length};

	bpf_loop(CAPTURE_LIMIT, search_step, &search, 0);
	return search.newlines == 2;
}

/* The rest of an operation whose head did not fit into one record. */
struct rest {
	struct scratch *scratch;
	struct connection *connection;
	__u64 base;
	__u32 length;
};

static long emit_piece(__u32 index, struct rest *rest)
{
	struct scratch *scratch = rest->scratch;
	struct user_buffer buffer = {.base = rest->base};
	__u32 *budget = &rest->connection->budget[scratch->record.flags & RECORD_SENT];
	__u32 want = rest->length < settings.capture_bytes ? rest->length : settings.capture_bytes;

	if (want > *budget)
		want = *budget;
	if (want)
		want = copy_user_buffer(scratch->data, want, &buffer);
	*budget -= want;
	scratch->record.sequence += scratch->record.length;
	scratch->record.length = want ? want : rest->length;
	scratch->record.flags &= RECORD_SENT;
	if (emit(scratch, want)) {
		leave_out(rest->connection);
		return 1;
	}
	rest->base += scratch->record.length;
	rest->length -= scratch->record.length;
	return rest->length == 0;
}

/* A GET that is longer than a record: several of them, as requests with a long head are rare. */
static __always_inline bool may_hold_more_heads(struct scratch *scratch, struct connection *connection)
{
	if ((scratch->record.flags & RECORD_START) && *(__u32 *)scratch->data == FOUR('G', 'E', 'T', ' '))
		connection->pipelined = 1;
	return connection->pipelined;
}

static __always_inline void emit_operation(struct scratch *scratch, struct connection *connection)
{
	struct operation *operation = &scratch->operation;
	__u32 captured = operation->captured, length = operation->length;
	bool continues = captured && captured < length && captured == settings.capture_bytes &&
			 !operation->buffer.iovecs && connection->budget[operation->direction & 1] &&
			 (may_hold_more_heads(scratch, connection) || !holds_whole_head(scratch->data, captured));

	scratch->record.length = continues ? captured : length;
	if (emit(scratch, captured)) {
		count_if_request(connection, operation->direction, scratch->data, captured);
		leave_out(connection);
		return;
	}
	connection->pending = 0;
	if (continues) {
		struct rest rest = {scratch, connection, operation->buffer.base + captured, length - captured};

		bpf_loop(MAX_PIECES, emit_piece, &rest, 0);
	}
}

/* Finds the operation's bytes and how many of them are worth copying. */
static __always_inline void locate(struct operation *operation, struct connection *connection, struct task_struct *task)
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
	if ((task->flags & PF_KTHREAD) || !find_user_buffer(task, operation->length, &operation->buffer))
		want = 0;
	operation->want = want;
}

static __always_inline void capture(struct scratch *scratch, __u32 want)
{
	struct operation *operation = &scratch->operation;

	operation->captured = want ? copy_user_buffer(scratch->data, want, &operation->buffer) : 0;
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

/* Whether the present exchange is left out and this operation cannot begin a new one. */
static __always_inline bool is_left_out(struct connection *connection, enum direction direction)
{
	if (connection->policy == POLICY_HTTP && direction != connection->request_direction)
		connection->answered = 1;
	return !is_recorded(connection) &&
	       (direction != connection->request_direction || !connection->answered);
}

/* The bytes of a ring's operation are not known yet: roles come from the handshake, turns from the directions. */
static __always_inline bool judge_unseen(struct connection *connection, enum direction direction)
{
	if (connection->policy == POLICY_UNKNOWN && connection->born != RECORD_LATE) {
		connection->policy = POLICY_HTTP;
		connection->request_direction = connection->born == RECORD_SERVER ? RECEIVED : SENT;
	}
	if (connection->policy == POLICY_HTTP && direction == connection->request_direction &&
	    (connection->verdict == VERDICT_NONE || connection->answered))
		judge(connection, direction, NULL, 0);
	return is_recorded(connection);
}

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

static __always_inline void handle_transfer(struct sock *sk, __u32 length, enum direction direction, bool is_tcp)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct connection *connection;
	struct scratch *scratch;
	struct tcp_sock *tcp;
	__u32 end;

	connection = get_connection(sk, task->tgid);
	if (!connection)
		return;
	count_hit(HIT_OPERATIONS);
	if (connection->policy == POLICY_OFF)
		return;
	if (!is_tcp)
		connection->next[direction] += length;
	if (is_left_out(connection, direction) &&
	    (connection->verdict != VERDICT_LOSE || direction != connection->request_direction))
		return;
	tcp = is_tcp ? bpf_core_cast(sk, struct tcp_sock) : NULL;
	end = end_sequence(tcp, connection, direction);
	scratch = get_scratch(direction == SENT ? SCRATCH_SEND : SCRATCH_RECEIVE);
	if (!scratch || advised_to_skip(connection, direction, end))
		return;
	scratch->operation.length = length;
	scratch->operation.direction = direction;
	scratch->operation.sequence = end - length;
	if (is_uring_operation(task, sk)) {
		defer_operation(scratch, connection, sk, tcp, task);
		return;
	}
	locate(&scratch->operation, connection, task);
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
	struct unix_sock *own = bpf_core_cast(sk, struct unix_sock);
	struct connection peer = {};

	tell(connection, RECORD_END, 0, connection->next[RECEIVED], 0);
	if (!own->peer || !(own->peer->__sk_common.skc_flags & SOCK_DEAD_BIT))
		return;
	tell(connection, RECORD_CLOSE, 0, connection->next[SENT], connection->next[RECEIVED]);
	peer.id = own->peer->__sk_common.skc_cookie.counter;
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
	if (!(sk->sk_shutdown & RCV_SHUTDOWN) && is_tcp)
		return;
	connection = bpf_sk_storage_get(&connections, sk, 0, 0);
	if (!connection || !connection->announced)
		return;
	if (is_tcp)
		tell(connection, RECORD_END, 0, end_sequence(bpf_core_cast(sk, struct tcp_sock), connection, RECEIVED), 0);
	else
		handle_unix_end(sk, connection);
}

static __always_inline bool is_traced_stream(struct sock *sk, bool *is_tcp)
{
	__u16 family = sk->__sk_common.skc_family;

	*is_tcp = family != AF_UNIX;
	if (family != AF_UNIX && family != AF_INET && family != AF_INET6)
		return false;
	if (sk->sk_type != SOCK_STREAM)
		return false;
	return family == AF_UNIX || sk->sk_protocol == IPPROTO_TCP;
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
		connection = bpf_sk_storage_get(&connections, sk, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
		if (!connection) {
			count_loss(LOSS_STORAGE);
			return 0;
		}
		connection->id = bpf_get_socket_cookie(sk);
		connection->opened_ns = bpf_ktime_get_ns();
		connection->born = old == STATE_SYN_SENT ? RECORD_CLIENT : RECORD_SERVER;
		connection->last_direction = NEITHER;
		return 0;
	}
	if (state != STATE_FIN_WAIT1 && state != STATE_LAST_ACK && state != STATE_CLOSE)
		return 0;
	connection = bpf_sk_storage_get(&connections, sk, 0, 0);
	if (!connection || !connection->announced)
		return 0;
	tcp = bpf_core_cast(sk, struct tcp_sock);
	if (state != STATE_CLOSE) {
		tell(connection, RECORD_END, RECORD_SENT, tcp->write_seq, 0);
		return 0;
	}
	unfinished = old == STATE_ESTABLISHED || old == STATE_CLOSE_WAIT;
	reset = unfinished || old == STATE_FIN_WAIT1 || sk->sk_err == ECONNRESET;
	/* a FIN that was sent has a sequence number of its own */
	tell(connection, RECORD_CLOSE, reset ? RECORD_RESET : 0, tcp->write_seq - !unfinished,
	     end_sequence(tcp, connection, RECEIVED));
	connection->announced = 0;
	connection->policy = POLICY_OFF;
	return 0;
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(handle_receive, struct sock *sk, int result, int flags)
{
	bool is_tcp;

	if (result < 0 || (flags & MSG_PEEK) || !is_traced_stream(sk, &is_tcp))
		return 0;
	if (result == 0)
		handle_end_of_stream(sk, is_tcp);
	else
		handle_transfer(sk, result, RECEIVED, is_tcp);
	return 0;
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(handle_send, struct sock *sk, int result, int flags)
{
	bool is_tcp;

	if (result > 0 && is_traced_stream(sk, &is_tcp))
		handle_transfer(sk, result, SENT, is_tcp);
	return 0;
}

SEC("tp_btf/io_uring_complete")
int BPF_PROG(handle_uring_complete, struct io_ring_ctx *ring, void *request, struct io_uring_cqe *completion)
{
	struct uring_key key = {.tid = (__u32)bpf_get_current_pid_tgid()};
	struct scratch *scratch = get_scratch(SCRATCH_URING);
	struct io_kiocb *kiocb = request;
	struct uring_operation *waiting;
	struct user_buffer buffer = {};
	__u32 captured = 0;

	if (!request || !scratch || completion->res <= 0)
		return 0;
	key.sock = (__u64)sock_of_file(BPF_CORE_READ(kiocb, file));
	waiting = bpf_map_lookup_elem(&uring_operations, &key);
	if (!waiting) {
		key.direction = SENT;
		waiting = bpf_map_lookup_elem(&uring_operations, &key);
	}
	if (!waiting)
		return 0;
	scratch->record = waiting->record;
	/* a completion of several operations at once begins elsewhere in the buffer: its bytes stay unknown */
	if ((__u32)completion->res == waiting->record.length && find_uring_buffer(kiocb, &buffer))
		captured = copy_user_buffer(scratch->data, waiting->want, &buffer);
	if (!captured)
		count_loss(LOSS_READ_FAULT);
	if (emit(scratch, captured))
		count_loss(LOSS_RECORDS);
	bpf_map_delete_elem(&uring_operations, &key);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
