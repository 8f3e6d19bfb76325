/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Records into the ring: how they begin, who did it, between which ends.
 */
#ifndef UNIVERSAL_TRACER_HTTP_EMIT_H
#define UNIVERSAL_TRACER_HTTP_EMIT_H

static __always_inline bool ring_passed(__u64 used, __u32 quarters)
{
	return used > settings.ring_bytes / 4 * quarters;
}

static __always_inline __u64 ring_used(void)
{
	return bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA);
}

/* The reader drains by time; it is woken only past half of the ring, which judge() and large records look at. */
static __always_inline long emit(struct scratch *scratch, __u32 captured)
{
	bool wake = scratch->record.flags & RECORD_WAKE;

	barrier_var(captured); /* or clang leaves out a bound that the verifier has not seen */
	if (captured > CAPTURE_LIMIT)
		captured = CAPTURE_LIMIT;
	if (captured > LARGE_RECORD)
		wake = ring_passed(ring_used(), 2);
	scratch->record.captured = captured;
	return bpf_ringbuf_output(&events, &scratch->record, sizeof(struct record) + captured,
				  wake ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP);
}

static __always_inline struct scratch *get_scratch(__u32 slot)
{
	return bpf_map_lookup_elem(&scratches, &slot);
}

/* Where an operation is put together. */
static __always_inline __u32 scratch_of(__u32 direction)
{
	return direction == SENT ? SCRATCH_SEND : SCRATCH_RECEIVE;
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
	record->pid = READ(task, tgid);
	record->tid = READ(task, pid);
	if (connection->last_tid != record->tid) {
		connection->last_tid = record->tid;
		bpf_get_current_comm(record->comm, sizeof(record->comm));
	}
}

static __always_inline void read_tcp_figures(struct record *record, struct tcp_sock *tcp)
{
	record->rtt_us = READ(tcp, srtt_us) >> 3;
	record->retransmits = READ(tcp, total_retrans);
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

#endif
