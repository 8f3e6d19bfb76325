/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Per exchange: is it HTTP, is it recorded, and what is counted where it is not.
 */
#ifndef UNIVERSAL_TRACER_HTTP_JUDGE_H
#define UNIVERSAL_TRACER_HTTP_JUDGE_H

/* The requests of an operation that is left out because the ring is nearly full; it holds one at least. */
static __always_inline void count_lost_requests(enum direction direction, __u32 captured)
{
	__u32 requests = captured ? count_requests(scratch_of(direction), captured) : 0;

	count_losses(LOSS_RING_FULL, requests ? requests : 1);
}

static __always_inline void count_if_request(struct connection *connection, __u32 direction, const char *bytes,
					     __u32 captured)
{
	if (direction == connection->request_direction && captured && recognise(bytes, captured) == LIKE_REQUEST)
		count_lost_requests(direction, captured);
}

/* A new exchange begins: is it recorded? */
static __always_inline void judge(struct connection *connection, enum direction direction, __u32 captured)
{
	__u64 used;

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
	used = ring_used();
	if (ring_passed(used, 3)) {
		count_lost_requests(direction, captured);
		leave_out(connection);
		return;
	}
	connection->verdict = VERDICT_RECORD;
	connection->pending |= RECORD_START | (ring_passed(used, 2) ? RECORD_WAKE : 0);
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
		judge(connection, direction, captured);
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
		judge(connection, direction, 0);
	return is_recorded(connection);
}

#endif
