/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * What TCP headers tell of a connection: what was sent again, what came out of order, how it ended.
 *
 * An ordinary segment touches its own direction's cache line only: what the other direction has to be watched for
 * is noted there (flow_half.watch).
 */
#ifndef UNIVERSAL_TRACER_XDP_TCP_H
#define UNIVERSAL_TRACER_XDP_TCP_H

#include "xdp_tcp_state.h"
#include "xdp_tcp_times.h"

/* What fills a gap within this time, or a round trip, was overtaken; later it was sent again. */
#define REORDERING_US 3000

static __always_inline void open_gap(struct flow_entry *entry, enum xdp_direction direction, __u32 start, __u32 end)
{
	struct flow_gap *gap = &entry->gap[direction];

	if (entry->half[direction].watch & WATCH_GAP)
		return; /* one at a time; what fills a later one counts as sent again */
	gap->start = start;
	gap->end = end;
	gap->time_us = bpf_ktime_get_ns() / 1000;
	watch(&entry->half[direction], WATCH_GAP);
}

/* Whether old bytes fill the gap so soon that they were overtaken on the way. */
static __always_inline bool fills_gap_in_time(struct flow_entry *entry, enum xdp_direction direction,
					      __u32 sequence, __u32 end)
{
	struct flow_half *half = &entry->half[direction];
	struct flow_gap *gap = &entry->gap[direction];
	__u32 limit = half->rtt_us ? half->rtt_us : REORDERING_US, waited;

	if (!(half->watch & WATCH_GAP) || is_behind(sequence, gap->start) || !is_behind(sequence, gap->end))
		return false;
	waited = (__u32)(bpf_ktime_get_ns() / 1000) - gap->time_us;
	if (sequence == gap->start)
		gap->start = end;
	else
		gap->end = sequence;
	if (!is_behind(gap->start, gap->end))
		unwatch(half, WATCH_GAP);
	return waited <= limit;
}

static __always_inline void follow_sequence(struct flow_entry *entry, enum xdp_direction direction,
					    const struct packet *packet, __u32 end)
{
	struct flow_half *half = &entry->half[direction];
	__u32 sequence = packet->sequence, next = half->next_sequence;

	if (!(half->watch & HAS_SEQUENCE) || sequence == next) {
		half->next_sequence = end;
		watch(half, HAS_SEQUENCE);
		return;
	}
	if (is_behind(next, sequence)) {
		open_gap(entry, direction, next, sequence);
		half->next_sequence = end;
		return;
	}
	/* a probe that keeps the connection alive repeats the last byte */
	if (sequence + 1 == next && packet->payload_length <= 1 && !(packet->tcp_flags & (TCP_SYN | TCP_FIN)))
		return;
	unwatch(&entry->half[!direction], WATCH_ACK); /* whose acknowledgement it is, nobody knows */
	if (fills_gap_in_time(entry, direction, sequence, end))
		__sync_fetch_and_add(&entry->out_of_order[direction], 1);
	else
		__sync_fetch_and_add(&half->retransmits, 1);
	if (is_behind(next, end))
		half->next_sequence = end;
}

static __always_inline void analyse_tcp(struct flow_entry *entry, enum xdp_direction direction,
					const struct packet *packet, __u64 jiffies, bool is_first_of_tick, void *ctx,
					bool is_xdp)
{
	struct flow_half *half = &entry->half[direction];
	__u8 flags = packet->tcp_flags;
	__u32 end = packet->sequence + packet->payload_length + !!(flags & TCP_SYN) + !!(flags & TCP_FIN);
	bool is_new = !(half->watch & HAS_SEQUENCE) || !is_behind(packet->sequence, half->next_sequence);

	if ((half->tcp_flags | flags) != half->tcp_flags)
		half->tcp_flags |= flags;
	if (half->watch & (WATCH_ACK | WATCH_ECHO | WATCH_FIN))
		answer(entry, direction, packet, ctx, is_xdp);
	if (end != packet->sequence && !(flags & TCP_RST))
		follow_sequence(entry, direction, packet, end);
	if (!packet->window && !(flags & (TCP_SYN | TCP_FIN | TCP_RST)))
		__sync_fetch_and_add(&entry->zero_window[direction], 1);
	if (flags & TCP_FIN)
		watch(&entry->half[!direction], WATCH_FIN);
	if ((flags & TCP_SYN) && is_new)
		ask(entry, direction, WATCH_ACK, end);
	else if (is_first_of_tick && packet->payload_length && is_new && !(flags & TCP_SYN))
		maybe_ask(entry, direction, packet, jiffies, ctx, is_xdp);
}

/* Whether this SYN begins a new connection on an entry whose connection is over. */
static __always_inline bool begins_anew(const struct flow_entry *entry, const struct packet *packet)
{
	if ((packet->tcp_flags & (TCP_SYN | TCP_ACK)) != TCP_SYN)
		return false;
	return (entry->half[0].tcp_flags | entry->half[1].tcp_flags) & (TCP_FIN | TCP_RST);
}

#endif
