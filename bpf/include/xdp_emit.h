/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Packets that somebody wants to see, with their bytes, into the ring. Nothing here runs unless it was asked for.
 */
#ifndef UNIVERSAL_TRACER_XDP_EMIT_H
#define UNIVERSAL_TRACER_XDP_EMIT_H

#define MAX_CAPTURE 65536
/* Of each kind, plain ones and those whose payload can be read; userspace picks at most as many of both together. */
#define EVENTS_PER_SECOND 10000

struct packet_scratch {
	struct packet_record record;
	__u8 bytes[MAX_CAPTURE];
};

/* One a CPU; values of a per-CPU map may not be so large. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* CPUs, where packets are wanted */
	__type(key, __u32);
	__type(value, struct packet_scratch);
} packet_scratches SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} packets SEC(".maps");

struct event_budget {
	__u64 second; /* of which the counts are */
	__u64 plain;
	__u64 special;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct event_budget);
} event_budgets SEC(".maps");

static __always_inline bool is_within_budget(const struct packet *packet, __u64 jiffies)
{
	__u64 second = jiffies / settings.second_jiffies;
	__u32 first = 0;
	struct event_budget *budget = bpf_map_lookup_elem(&event_budgets, &first);
	__u64 *spent;

	if (!budget)
		return false;
	/* several CPUs may do this at once; the budget is then a few packets larger */
	if (budget->second != second) {
		budget->second = second;
		budget->plain = 0;
		budget->special = 0;
	}
	spent = packet->kind == PACKET_PLAIN ? &budget->plain : &budget->special;
	if (*(volatile __u64 *)spent >= EVENTS_PER_SECOND)
		return false;
	return __sync_fetch_and_add(spent, 1) < EVENTS_PER_SECOND;
}

static __always_inline void describe_packet(struct packet_record *record, const struct packet *packet, __u32 pid,
					    __u8 flags)
{
	record->time_ns = bpf_ktime_get_ns();
	record->key = packet->key;
	record->inner = packet->inner;
	record->wire_length = packet->length;
	record->payload_offset = packet->payload_offset;
	record->payload_length = packet->payload_length;
	record->sequence = packet->sequence;
	record->pid = pid;
	record->segments = packet->segments;
	record->ethertype = packet->ethertype;
	record->direction = packet->direction;
	record->kind = packet->kind;
	record->flags = flags | (packet->fragment == FRAGMENT_LATER ? PACKET_FRAGMENT : 0);
	record->tcp_flags = packet->tcp_flags;
	record->icmp_type = packet->icmp_type;
	record->icmp_code = packet->icmp_code;
}

static __always_inline void describe_tag_aside(struct packet_record *record, void *ctx, bool is_xdp)
{
	struct __sk_buff *skb = ctx;

	record->tag_protocol = 0;
	record->tag = 0;
	if (is_xdp || !skb->vlan_present)
		return;
	record->tag_protocol = skb->vlan_proto;
	record->tag = skb->vlan_tci;
	record->flags |= PACKET_TAG_ASIDE;
}

static __always_inline long copy_frame(void *ctx, bool is_xdp, void *to, __u32 length)
{
	return is_xdp ? bpf_xdp_load_bytes(ctx, 0, to, length) : bpf_skb_load_bytes(ctx, 0, to, length);
}

/* Ships the packet where an event or the capture wants it. */
static __always_inline void emit_packet(void *ctx, bool is_xdp, const struct packet *packet, struct ledger *ledger,
					__u32 pid, __u64 jiffies, __u8 flags)
{
	__u32 length = settings.capture_bytes ? settings.capture_bytes : PACKET_EVENT_BYTES;
	__u32 cpu = bpf_get_smp_processor_id();
	struct packet_scratch *scratch;

	if (settings.packet_events) {
		if (is_within_budget(packet, jiffies))
			flags |= PACKET_FOR_EVENT;
		else
			ledger->events_capped++;
	}
	if (!settings.capture_bytes && !(flags & PACKET_FOR_EVENT))
		return;
	scratch = bpf_map_lookup_elem(&packet_scratches, &cpu);
	if (!scratch)
		return;
	describe_packet(&scratch->record, packet, pid, flags);
	describe_tag_aside(&scratch->record, ctx, is_xdp);
	if (length > packet->length)
		length = packet->length;
	asm volatile("" : "+r"(length));
	if (length < 1 || length > MAX_CAPTURE)
		return;
	if (copy_frame(ctx, is_xdp, scratch->bytes, length))
		length = 0;
	scratch->record.captured = length;
	if (bpf_ringbuf_output(&packets, scratch, sizeof(scratch->record) + length, BPF_RB_NO_WAKEUP))
		ledger->events_lost++;
}

#endif
