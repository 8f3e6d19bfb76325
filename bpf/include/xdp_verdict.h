/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Whether packets are those of a target's sockets, and whose a flow is.
 *
 * The answer is kept for a quarter of a second by the hash of the flow, and longer where there is no way to ask again:
 * asking costs more than everything else that is done with a packet.
 */
#ifndef UNIVERSAL_TRACER_XDP_VERDICT_H
#define UNIVERSAL_TRACER_XDP_VERDICT_H

#define VERDICTS 65536
#define VERDICT_WANTED 1ULL
#define VERDICT_TIME_SHIFT 1
#define VERDICT_TAG_SHIFT 24
#define VERDICT_TIME_MASK ((1ULL << VERDICT_TAG_SHIFT) - 2)

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* VERDICTS, where there are targets */
	__type(key, __u32);
	__type(value, __u64);
} verdicts SEC(".maps");

/* Whether a packet is one of a target's socket. */
static __always_inline bool is_wanted(void *ctx, bool is_xdp, struct packet *packet, __u64 jiffies)
{
	__u64 hash = key_hash(&packet->key), quarter = jiffies * 4 / settings.second_jiffies, known, *verdict;
	__u64 time = quarter << VERDICT_TIME_SHIFT & VERDICT_TIME_MASK;
	__u32 slot = hash % VERDICTS;

	verdict = bpf_map_lookup_elem(&verdicts, &slot);
	if (!verdict)
		return false;
	known = *(volatile __u64 *)verdict;
	if ((known ^ hash) >> VERDICT_TAG_SHIFT == 0) {
		if ((known & VERDICT_TIME_MASK) == time)
			return known & VERDICT_WANTED;
		if (packet->direction == INGRESS && !has_ports_of_sockets(packet))
			return known & VERDICT_WANTED;
	}
	find_owner(ctx, is_xdp, packet);
	/* of a new socket nobody knows yet whose it is: until its process uses it, it might be a target's */
	if (packet->owner.state == OWNER_UNKNOWN)
		return packet->socket != 0;
	*verdict = (hash >> VERDICT_TAG_SHIFT << VERDICT_TAG_SHIFT) | time | (packet->owner.wanted ? VERDICT_WANTED : 0);
	return packet->owner.wanted;
}

/* Ever rarer: a connection that nobody reads from or writes to keeps nobody busy. */
static __always_inline bool is_due(__u64 buffers)
{
	return buffers < 16 || !(buffers & (buffers - 1));
}

/* Whose flow an entry is, as long as that is not known for sure. */
static __always_inline void settle_owner(void *ctx, bool is_xdp, struct packet *packet, struct flow_entry *entry)
{
	if (packet->owner.state == OWNER_UNASKED) {
		if (entry->owner.state == OWNER_UNASKED)
			find_owner(ctx, is_xdp, packet);
		else if (!is_xdp && packet->direction == EGRESS && is_due(entry->half[EGRESS].buffers))
			find_sender(ctx, packet);
	}
	if (packet->owner.state == OWNER_UNASKED)
		return;
	entry->socket = packet->socket;
	/* who listens is better than nobody */
	if (packet->owner.state > OWNER_UNKNOWN || entry->owner.state == OWNER_UNASKED)
		entry->owner = packet->owner;
}

#endif
