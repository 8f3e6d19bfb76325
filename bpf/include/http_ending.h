/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* A step in a connection's life that carries no bytes: an end of the stream, a close. */
#ifndef UNIVERSAL_TRACER_HTTP_ENDING_H
#define UNIVERSAL_TRACER_HTTP_ENDING_H

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

#endif
