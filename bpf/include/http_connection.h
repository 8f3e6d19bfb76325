/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * An operation's connection: whether its user is traced, where in the stream it
 * is, and what userspace advised.
 */
#ifndef UNIVERSAL_TRACER_HTTP_CONNECTION_H
#define UNIVERSAL_TRACER_HTTP_CONNECTION_H

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

/*
 * has_chosen_address(), remembered once it held: interfaces get and lose addresses, connections keep theirs.
 * What was passed over until then makes it a connection that was joined late.
 */
static __always_inline bool is_on_interface(struct connection *connection, struct sock *sk)
{
	if (!settings.by_interface || connection->on_interface)
		return true;
	if (has_chosen_address(sk)) {
		connection->on_interface = 1;
		return true;
	}
	count_hit(HIT_ELSEWHERE);
	connection->born = RECORD_LATE;
	return false;
}

/* The connection, if its user is to be traced. */
static __always_inline struct connection *get_connection(struct sock *sk, __u32 pid)
{
	struct connection *connection = find_connection(sk);

	if (connection)
		return is_users_target(connection, pid) && is_on_interface(connection, sk) ? connection : NULL;
	if (!is_target(pid))
		return NULL;
	connection = make_connection(sk);
	if (!connection)
		return NULL;
	connection->born = RECORD_LATE;
	return is_on_interface(connection, sk) ? connection : NULL;
}

/* A FIN that was read together with the last bytes has a sequence number of its own. */
static __always_inline bool fin_was_read(struct tcp_sock *tcp, __u32 copied)
{
	struct sock *sk = (struct sock *)tcp;

	return (READ(sk, sk_shutdown) & RCV_SHUTDOWN) && copied == READ(tcp, rcv_nxt);
}

/* Sequence behind the last byte that was moved; `tcp` is null for a Unix socket, whose bytes are counted. */
static __always_inline __u32 end_sequence(struct tcp_sock *tcp, const struct connection *connection,
					  enum direction direction)
{
	__u32 counted = connection->next[direction & 1], copied;

	barrier_var(counted); /* or clang makes one load of two kinds of pointers, which the verifier refuses */
	if (!tcp)
		return counted;
	if (direction == SENT)
		return READ(tcp, write_seq);
	copied = READ(tcp, copied_seq);
	return fin_was_read(tcp, copied) ? copied - 1 : copied;
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
	return advice->skip[direction & 1] && (__s32)(end - advice->skip_until[direction & 1]) < 0;
}

#endif
