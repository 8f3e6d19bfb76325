// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/*
 * Packet tracer: counts flows where packets enter (XDP) and leave (TC) an interface.
 *
 * Hooks: XDP or TC at the ingress, TC at the egress; the hooks of sockets tell whose flows they are (xdp_owner.h).
 * The verdict is always "go on". Loaded once per interface, whose number and kind are constants then; the maps are
 * shared. What became of each program run is in the ledger.
 * docs/BENCHMARKS.md has the figures: about 50 ns a packet, no helper is called for an ordinary one.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include "compat.h"
#include "xdp_records.h"

/* Limits */
#define HEADER_BYTES 512	/* that are made readable where a buffer's headers are not */
#define SKIPS 1024		/* distances between samples */
#define CACHE_LINE 64

/* TCX_NEXT of tcx, TC_ACT_UNSPEC of clsact: whoever comes next decides */
#define TC_GO_ON (-1)

/* Settings, fixed before load: see native/core/src/xdp/settings.rs. */
struct xdp_settings {
	__u64 hash_seed;
	__u32 sets;		/* of the flow table */
	__u32 capacity;		/* flows in all */
	__u32 sampling;		/* one in this many packets */
	__u32 capture_bytes;	/* of each packet for a capture; 0 = none runs */
	__u32 second_jiffies;	/* ticks in a second */
	__u32 cpus;		/* for the ledger's index */
	__u32 self_pid;		/* the tracer, never a target */
	__u16 interface;	/* its number in this session */
	__u8 has_link_header;	/* Ethernet; else IP comes first */
	__u8 is_generic;	/* XDP sees socket buffers, which may stand for several packets */
	__u8 has_fragments;	/* a buffer may go on beyond data_end */
	__u8 has_filter;
	__u8 detect_payload;
	__u8 packet_events;
	__u8 track_flows;
	__u8 filter;		/* packets of `targets` only */
	__u8 has_names;		/* target_names is not empty */
	__u8 reserved[1];
};
const volatile struct xdp_settings settings SEC(".rodata.settings");

static __always_inline __u64 mix(__u64 hash, __u64 word)
{
	hash = (hash ^ word) * 0x9fb21c651e98df25ULL;
	return hash ^ hash >> 32;
}

#include "shared_maps.h"
#include "targets.h"
#include "xdp_parse.h"
#include "xdp_tunnel.h"
#include "xdp_table.h"
#include "xdp_tcp.h"
#include "xdp_count.h"
#include "xdp_owner.h"
#include "xdp_socket.h"
#include "xdp_verdict.h"
#include "xdp_payload.h"
#include "xdp_emit.h"
#include "xdp_filter.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* interfaces * 2 directions * CPUs */
	__type(key, __u32);
	__type(value, struct ledger);
} ledgers SEC(".maps");

/* How many packets to leave out before the next sample: random, so that a rhythm of the traffic cannot hide. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SKIPS);
	__type(key, __u32);
	__type(value, __u32);
} skips SEC(".maps");

/* The same instant on the clock of flows and on the one of everything else. */
struct tick_reading {
	__u64 jiffies;
	__u64 coarse_ns;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tick_reading);
} tick_readings SEC(".maps");

/* Helpers */

static __always_inline struct ledger *ledger_of(enum xdp_direction direction)
{
	__u32 index = (settings.interface * 2 + direction) * settings.cpus + bpf_get_smp_processor_id();

	return bpf_map_lookup_elem(&ledgers, &index);
}

static __always_inline bool is_sampled(struct ledger *ledger)
{
	__u32 index, *skip;

	if (settings.sampling <= 1)
		return true;
	if (ledger->skip) {
		ledger->skip--;
		ledger->sampled_out++;
		return false;
	}
	index = bpf_get_prandom_u32() % SKIPS;
	skip = bpf_map_lookup_elem(&skips, &index);
	if (skip)
		ledger->skip = *skip;
	return true;
}

/* In generic mode a buffer is a socket buffer, with the kernel's own count of the packets it stands for at its end. */
static __always_inline __u32 segments_of_generic(struct xdp_md *ctx)
{
	__u32 size = (bpf_core_type_size(struct skb_shared_info) + CACHE_LINE - 1) & ~(CACHE_LINE - 1);
	struct skb_shared_info *shared;
	struct xdp_buff *buffer;

	if (!bpf_ksym_exists(bpf_cast_to_kern_ctx) || !bpf_ksym_exists(bpf_rdonly_cast))
		return 1;
	buffer = bpf_cast_to_kern_ctx(ctx);
	shared = bpf_rdonly_cast(buffer->data_hard_start + buffer->frame_sz - size,
				 bpf_core_type_id_kernel(struct skb_shared_info));
	return shared->gso_segs ? shared->gso_segs : 1;
}

static __always_inline bool wants_packets(void)
{
	return settings.packet_events || settings.capture_bytes;
}

/* A packet that is no flow's: counted by why. */
static __always_inline void handle_unparsed(void *ctx, bool is_xdp, const struct packet *packet,
					    struct ledger *ledger, int parsed, __u64 bytes)
{
	__u32 reason = parsed - PARSED_MALFORMED;

	if (settings.filter) {
		ledger->filtered++;
		return;
	}
	count_traffic(&ledger->traffic[CLASS_NON_IP], packet->segments, bytes);
	if (parsed == PARSED_NOT_IP)
		ledger->not_ip++;
	else if (reason < MALFORMED_REASONS)
		ledger->malformed[reason]++;
	if (wants_packets())
		emit_packet(ctx, is_xdp, packet, ledger, 0, bpf_jiffies64(), PACKET_UNPARSED);
}

static __always_inline void handle_parsed(void *ctx, bool is_xdp, struct packet *packet, struct ledger *ledger,
					  enum xdp_direction direction, __u32 tag_bytes)
{
	__u64 jiffies = bpf_jiffies64(), bytes = wire_bytes(packet, tag_bytes);
	struct flow_entry *entry = NULL;

	if (packet->fragment)
		settle_fragment(packet);
	if (may_be_tunnel(packet))
		settle_inner(packet, is_xdp ? parse_inner_xdp(ctx, packet) : parse_inner_tc(ctx, packet));
	if (settings.filter && !is_wanted(ctx, is_xdp, packet, jiffies)) {
		ledger->filtered++;
		return;
	}
	count_traffic(&ledger->traffic[class_of(packet)], packet->segments, bytes);
	if (settings.track_flows)
		entry = count_flow(ctx, is_xdp, packet, direction, jiffies, bytes);
	if (entry) {
		ledger->flows++;
		if (entry->owner.state < OWNER_KNOWN)
			settle_owner(ctx, is_xdp, packet, entry);
	} else {
		ledger->other++;
		count_traffic(&ledger->unflowed, packet->segments, bytes);
	}
	if (settings.detect_payload)
		look_at_payload(ctx, is_xdp, packet, entry, direction);
	if (settings.detect_payload && packet->key.protocol == IP_UDP && is_dns(packet))
		packet->kind = PACKET_DNS;
	if (wants_packets())
		emit_packet(ctx, is_xdp, packet, ledger, entry ? entry->owner.pid : packet->owner.pid, jiffies, 0);
}

static __always_inline void handle_xdp(struct xdp_md *ctx)
{
	struct ledger *ledger = ledger_of(INGRESS);
	struct packet packet = {};
	int parsed;

	if (!ledger)
		return;
	ledger->runs++;
	if (settings.has_filter && !filter_xdp(ctx)) {
		ledger->filtered++;
		return;
	}
	if (!is_sampled(ledger))
		return;
	packet.length = settings.has_fragments ? bpf_xdp_get_buff_len(ctx) : ctx->data_end - ctx->data;
	packet.segments = settings.is_generic ? segments_of_generic(ctx) : 1;
	packet.key.interface = settings.interface;
	parsed = parse_xdp(ctx, &packet);
	if (parsed == PARSED_FLOW)
		handle_parsed(ctx, true, &packet, ledger, INGRESS, 0);
	else
		handle_unparsed(ctx, true, &packet, ledger, parsed, packet.length);
}

/* Tags that the kernel or the device keeps beside the frame come first on the wire. */
static __always_inline __u32 note_tag_aside(struct __sk_buff *skb, struct packet *packet)
{
	if (!skb->vlan_present)
		return 0;
	note_tag(packet, skb->vlan_tci);
	return sizeof(struct vlan_header);
}

static __always_inline void describe_skb(struct __sk_buff *skb, struct packet *packet, enum xdp_direction direction)
{
	packet->length = skb->len;
	packet->segments = skb->gso_segs ? skb->gso_segs : 1;
	packet->key.interface = settings.interface;
	packet->direction = direction;
}

static __always_inline void handle_tc(struct __sk_buff *skb, enum xdp_direction direction)
{
	struct ledger *ledger = ledger_of(direction);
	struct packet packet = {};
	__u32 tag_bytes;
	int parsed;

	if (!ledger)
		return;
	ledger->runs++;
	if (settings.has_filter && !filter_tc(skb)) {
		ledger->filtered++;
		return;
	}
	if (!is_sampled(ledger))
		return;
	describe_skb(skb, &packet, direction);
	tag_bytes = note_tag_aside(skb, &packet);
	parsed = parse_tc(skb, &packet);
	if (parsed >= PARSED_MALFORMED && skb->data_end - skb->data < skb->len) {
		/* not broken, perhaps: the headers lie in another part of the buffer */
		bpf_skb_pull_data(skb, skb->len < HEADER_BYTES ? skb->len : HEADER_BYTES);
		__builtin_memset(&packet, 0, sizeof(packet));
		describe_skb(skb, &packet, direction);
		note_tag_aside(skb, &packet);
		parsed = parse_tc(skb, &packet);
	}
	if (parsed == PARSED_FLOW)
		handle_parsed(skb, false, &packet, ledger, direction, tag_bytes);
	else
		handle_unparsed(skb, false, &packet, ledger, parsed, packet.length + tag_bytes);
}

/* Handlers */

SEC("xdp.frags")
int handle_ingress(struct xdp_md *ctx)
{
	handle_xdp(ctx);
	return XDP_PASS;
}

SEC("tcx/ingress")
int handle_tc_ingress(struct __sk_buff *skb)
{
	handle_tc(skb, INGRESS);
	return TC_GO_ON;
}

SEC("tcx/egress")
int handle_tc_egress(struct __sk_buff *skb)
{
	handle_tc(skb, EGRESS);
	return TC_GO_ON;
}

/* Run by userspace, never attached. Both clocks move at the same tick: where one came in between, the reading is repeated. */
SEC("tc")
int read_clock(struct __sk_buff *skb)
{
	__u32 first = 0;
	struct tick_reading *reading = bpf_map_lookup_elem(&tick_readings, &first);

	if (!reading)
		return 0;
	for (int attempt = 0; attempt < 4; attempt++) {
		reading->jiffies = bpf_jiffies64();
		reading->coarse_ns = bpf_ktime_get_coarse_ns();
		if (bpf_jiffies64() == reading->jiffies)
			break;
	}
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
