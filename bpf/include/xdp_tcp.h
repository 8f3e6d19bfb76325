/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * What TCP headers tell of a connection: round trips, what was sent again, what came out of order, how it ended.
 *
 * An ordinary segment touches its own direction's cache line only: what the other direction has to be watched for
 * is noted there (flow_half.watch). The clock is read for the few packets that are timed.
 */
#ifndef UNIVERSAL_TRACER_XDP_TCP_H
#define UNIVERSAL_TRACER_XDP_TCP_H

#define TIMESTAMP_OPTION 8
#define TIMESTAMP_LENGTH 10
#define MAX_TCP_OPTIONS 10
/* What fills a gap within this time, or a round trip, was overtaken; later it was sent again. */
#define REORDERING_US 3000
#define STALE_SECONDS 10

struct tcp_timestamps {
	__u32 value;
	__u32 echo;
};

static __always_inline bool is_behind(__u32 sequence, __u32 reference)
{
	return (__s32)(sequence - reference) < 0;
}

static __always_inline void watch(struct flow_half *half, __u32 bits)
{
	if ((half->watch & bits) != bits)
		__sync_fetch_and_or(&half->watch, bits);
}

static __always_inline void unwatch(struct flow_half *half, __u32 bits)
{
	if (half->watch & bits)
		__sync_fetch_and_and(&half->watch, ~bits);
}

/* Finds the time stamp option; what nearly everybody sends is two NOPs and the option. */
static __always_inline bool read_timestamps(void *data, void *end, const struct packet *packet,
					    struct tcp_timestamps *found)
{
	__u32 offset = packet->transport_offset + sizeof(struct tcp_header), last = packet->payload_offset;
	__u8 *option;

	for (int options = 0; options < MAX_TCP_OPTIONS; options++) {
		option = AT(2, false);
		if (offset + 2 > last || option[0] == 0)
			return false;
		if (option[0] == 1) {
			offset++;
			continue;
		}
		if (option[0] == TIMESTAMP_OPTION) {
			option = AT(TIMESTAMP_LENGTH, false);
			if (offset + TIMESTAMP_LENGTH > last)
				return false;
			found->value = bpf_ntohl(*(__be32 *)(option + 2));
			found->echo = bpf_ntohl(*(__be32 *)(option + 6));
			return true;
		}
		if (option[1] < 2)
			return false;
		offset += option[1];
	}
	return false;
}

static __noinline int timestamps_xdp(struct xdp_md *ctx, const struct packet *packet, struct tcp_timestamps *found)
{
	return read_timestamps((void *)(long)ctx->data, (void *)(long)ctx->data_end, packet, found);
}

static __noinline int timestamps_tc(struct __sk_buff *ctx, const struct packet *packet, struct tcp_timestamps *found)
{
	return read_timestamps((void *)(long)ctx->data, (void *)(long)ctx->data_end, packet, found);
}

static __always_inline bool timestamps_of(void *ctx, bool is_xdp, const struct packet *packet,
					  struct tcp_timestamps *found)
{
	return is_xdp ? timestamps_xdp(ctx, packet, found) : timestamps_tc(ctx, packet, found);
}

/* The answer to the other direction's packet has come. */
static __always_inline void take_round_trip(struct flow_entry *entry, enum xdp_direction direction)
{
	struct flow_half *half = &entry->half[direction], *other = &entry->half[!direction];
	__u64 now = bpf_ktime_get_ns(), sent = entry->sent_ns[!direction];
	__u32 microseconds;

	unwatch(half, WATCH_ACK | WATCH_ECHO);
	if (now <= sent)
		return;
	microseconds = (now - sent) / 1000;
	if (!microseconds)
		microseconds = 1;
	if (!other->rtt_us || microseconds < other->rtt_us)
		other->rtt_us = microseconds;
}

static __always_inline void answer(struct flow_entry *entry, enum xdp_direction direction,
				   const struct packet *packet, void *ctx, bool is_xdp)
{
	struct flow_half *half = &entry->half[direction], *other = &entry->half[!direction];
	struct tcp_timestamps timestamps = {};

	if (!(packet->tcp_flags & TCP_ACK))
		return;
	if ((half->watch & WATCH_FIN) && packet->acknowledgement == other->next_sequence)
		watch(other, FIN_ANSWERED);
	if (half->watch & WATCH_ACK) {
		if (packet->acknowledgement == half->awaited)
			take_round_trip(entry, direction);
		else if (!is_behind(packet->acknowledgement, half->awaited))
			unwatch(half, WATCH_ACK);
	} else if ((half->watch & WATCH_ECHO) && timestamps_of(ctx, is_xdp, packet, &timestamps)) {
		if (timestamps.echo == half->awaited)
			take_round_trip(entry, direction);
		else if (!is_behind(timestamps.echo, half->awaited))
			unwatch(half, WATCH_ECHO);
	}
}

/* Lets the other direction's packets be watched for the answer to this one. */
static __always_inline void ask(struct flow_entry *entry, enum xdp_direction direction, __u32 bit, __u32 awaited)
{
	struct flow_half *other = &entry->half[!direction];

	entry->sent_ns[direction] = bpf_ktime_get_ns();
	other->awaited = awaited;
	unwatch(other, WATCH_ACK | WATCH_ECHO);
	watch(other, bit);
}

/* Times one of this direction's data packets a few times a second. Only for the first one of a tick. */
static __always_inline void maybe_ask(struct flow_entry *entry, enum xdp_direction direction,
				      const struct packet *packet, __u64 jiffies, void *ctx, bool is_xdp)
{
	struct tcp_timestamps timestamps = {};
	__u32 since = (__u32)jiffies - entry->sampled_jiffies[direction];
	__u32 pending = entry->half[!direction].watch & (WATCH_ACK | WATCH_ECHO);

	if (since < settings.second_jiffies / 8 || (pending && since < settings.second_jiffies * STALE_SECONDS))
		return;
	entry->sampled_jiffies[direction] = jiffies;
	if (timestamps_of(ctx, is_xdp, packet, &timestamps))
		ask(entry, direction, WATCH_ECHO, timestamps.value);
}

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
