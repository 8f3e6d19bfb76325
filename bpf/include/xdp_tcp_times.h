/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * TCP's round trips: own packet to its answer, by acknowledgement or by the time stamp option.
 *
 * The clock is read for the few packets that are timed.
 */
#ifndef UNIVERSAL_TRACER_XDP_TCP_TIMES_H
#define UNIVERSAL_TRACER_XDP_TCP_TIMES_H

#define TIMESTAMP_OPTION 8
#define TIMESTAMP_LENGTH 10
#define MAX_TCP_OPTIONS 10
#define STALE_SECONDS 10

struct tcp_timestamps {
	__u32 value;
	__u32 echo;
};

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

#endif
