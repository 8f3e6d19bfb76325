/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * What a packet adds to the counts of its interface and its flow.
 */
#ifndef UNIVERSAL_TRACER_XDP_COUNT_H
#define UNIVERSAL_TRACER_XDP_COUNT_H

static __always_inline enum protocol_class class_of(const struct packet *packet)
{
	switch (packet->key.protocol) {
	case IP_TCP:
		return CLASS_TCP;
	case IP_UDP:
		return CLASS_UDP;
	case IP_ICMP:
		return CLASS_ICMP;
	case IP_ICMPV6:
		return CLASS_ICMPV6;
	case IP_SCTP:
		return CLASS_SCTP;
	default:
		return CLASS_OTHER;
	}
}

/* Headers come once in a buffer that stands for several packets, and once in each of them on the wire. */
static __always_inline __u64 wire_bytes(const struct packet *packet, __u32 tag_bytes)
{
	__u64 bytes = packet->length + tag_bytes;

	if (packet->segments > 1)
		bytes += (__u64)(packet->segments - 1) * (packet->payload_offset + tag_bytes);
	return bytes;
}

static __always_inline void count_traffic(struct traffic *traffic, __u32 packets, __u64 bytes)
{
	traffic->packets += packets;
	traffic->bytes += bytes;
}

/* Counts a direction's first packet as a flow of the table; false where the table is full. */
static __always_inline bool begin_half(struct flow_entry *entry, enum xdp_direction direction,
				       const struct packet *packet, __u64 jiffies)
{
	struct flow_half *half = &entry->half[direction];

	if (!has_room())
		return false;
	if (__sync_val_compare_and_swap(&half->last_jiffies, 0, jiffies) == 0) {
		count_used(1);
		entry->first_jiffies[direction] = jiffies;
		half->icmp_type = packet->icmp_type;
		half->icmp_code = packet->icmp_code;
	}
	return true;
}

static __always_inline struct flow_entry *find_or_insert(const struct packet *packet)
{
	__u64 hash = key_hash(&packet->key);
	struct flow_entry *entry = find_flow(packet, hash);

	if (!entry)
		return insert_flow(packet, hash);
	if (packet->key.protocol == IP_TCP && begins_anew(entry, packet))
		return renew_flow(packet, hash);
	return entry;
}

static __always_inline struct flow_entry *count_flow(void *ctx, bool is_xdp, struct packet *packet,
						     enum xdp_direction direction, __u64 jiffies, __u64 bytes)
{
	struct flow_entry *entry = find_or_insert(packet);
	struct flow_half *half;
	bool is_first_of_tick;

	if (!entry)
		return NULL;
	half = &entry->half[direction];
	if (!half->last_jiffies && !begin_half(entry, direction, packet, jiffies))
		return NULL;
	is_first_of_tick = half->last_jiffies != jiffies;
	if (is_first_of_tick)
		half->last_jiffies = jiffies;
	__sync_fetch_and_add(&half->buffers, 1);
	__sync_fetch_and_add(&half->bytes, bytes);
	if (packet->segments > 1)
		__sync_fetch_and_add(&half->merged, packet->segments - 1);
	if (packet->key.protocol == IP_TCP && packet->fragment != FRAGMENT_LATER)
		analyse_tcp(entry, direction, packet, jiffies, is_first_of_tick, ctx, is_xdp);
	return entry;
}

#endif
