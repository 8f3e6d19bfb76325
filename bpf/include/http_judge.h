/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Per exchange: is it HTTP, is it recorded, and what is counted where it is not.
 */
#ifndef UNIVERSAL_TRACER_HTTP_JUDGE_H
#define UNIVERSAL_TRACER_HTTP_JUDGE_H

/* How many requests begin in the bytes: each request line has one " HTTP/1.". */
#define REQUEST_VERSION 0x2e312f5054544820ULL
#define SEARCH_STRIDE 32
struct request_search {
	const char *bytes;
	__u32 length;
	__u32 requests;
};

/* 1 where nothing differs, else 0; without a branch, which the verifier would follow at each byte. */
static __always_inline __u32 is_zero(__u64 difference)
{
	__u64 sign = difference | -difference;

	barrier_var(sign);
	return (sign >> 63) ^ 1;
}

/* A stride of bytes per call: the call costs more than looking at a byte. */
static long count_step(__u32 index, struct request_search *search)
{
	__u32 start = index * SEARCH_STRIDE;

	if (start >= CAPTURE_LIMIT)
		return 1;
	for (__u32 i = start; i < start + SEARCH_STRIDE; i++) {
		if (i + sizeof(__u64) > search->length)
			return 1;
		search->requests += is_zero(*(const __u64 *)(search->bytes + i) ^ REQUEST_VERSION);
	}
	return 0;
}

/* The requests of an operation that is left out because the ring is nearly full; it holds one at least. */
static __always_inline void count_lost_requests(const char *bytes, __u32 captured)
{
	struct request_search search = {.bytes = bytes, .length = captured};

	if (bytes)
		bpf_loop(CAPTURE_LIMIT / SEARCH_STRIDE, count_step, &search, 0);
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
		count_lost_requests(bytes, captured);
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

#endif
