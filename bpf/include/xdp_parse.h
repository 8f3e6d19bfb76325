/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * From a frame to the key of its flow, in bounded steps.
 *
 * The place in the frame is a plain number that is checked against a bound before every access: so the verifier
 * compares numbers instead of packet pointers of unknown offset, which costs it 10,000 steps instead of a million.
 * The results go through memory (struct packet): what was found out on the way is forgotten at once.
 *
 * parse_frame() and parse_inner() are functions of their own for the verifier, which looks at each once.
 */
#ifndef UNIVERSAL_TRACER_XDP_PARSE_H
#define UNIVERSAL_TRACER_XDP_PARSE_H

#include "xdp_headers.h"

#define MAX_OFFSET 1984	    /* of a header in its frame */
#define MAX_VLAN_TAGS 2
#define MAX_MPLS_LABELS 4
#define MAX_IPV6_OPTIONS 8
#define FRAGMENTED_DATAGRAMS 4096

/* What parse_frame() returns; MALFORMED + enum malformed beyond. */
enum parsed {
	PARSED_FLOW = 0,
	PARSED_NOT_IP = 1,
	PARSED_MALFORMED = 2,
};

/* What is known of a packet. */
struct packet {
	struct flow_key key;
	struct inner_flow inner;
	__u32 length;	      /* of the buffer, in bytes */
	__u32 segments;	      /* packets on the wire that the buffer is */
	__u32 payload_offset; /* of what follows the layer 4 header, in the frame */
	__u32 payload_length;
	__u32 network_offset; /* of the IP header */
	__u32 transport_offset;
	__u32 network_end;    /* as the IP header says */
	__u32 sequence;
	__u32 acknowledgement;
	__u32 datagram;	      /* identification, for fragments */
	__u16 window;
	__be16 ethertype;     /* behind tags and labels */
	__u8 tcp_flags;
	__u8 icmp_type;
	__u8 icmp_code;
	__u8 fragment;	      /* enum fragment */
	__u8 direction;	      /* enum xdp_direction */
	__u8 tags;	      /* seen in the frame or beside it */
	__u8 kind;	      /* enum packet_kind */
	__u8 reserved;
};

enum fragment {
	FRAGMENT_NONE = 0,
	FRAGMENT_FIRST = 1,
	FRAGMENT_LATER = 2, /* no layer 4 header in it */
};

/* The ports of a fragmented datagram, from its first fragment. */
struct datagram_key {
	__u8 remote[16];
	__u8 local[16];
	__u32 id;
	__u16 interface;
	__u8 protocol;
	__u8 direction;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, FRAGMENTED_DATAGRAMS);
	__type(key, struct datagram_key);
	__type(value, __u32); /* remote and local port */
} datagrams SEC(".maps");

/* The next `size` bytes, or the end of the parse with `result`. Needs data, end and offset. */
#define AT(size, result)                                                       \
	({                                                                     \
		void *_place;                                                  \
		if (offset > MAX_OFFSET)                                       \
			return (result);                                       \
		_place = data + offset;                                        \
		if (_place + (size) > end)                                     \
			return (result);                                       \
		_place;                                                        \
	})

#define CUT(reason) (PARSED_MALFORMED + (reason))

static __always_inline bool is_vlan(__be16 type)
{
	return type == bpf_htons(ETHERTYPE_VLAN) || type == bpf_htons(ETHERTYPE_QINQ) ||
	       type == bpf_htons(ETHERTYPE_QINQ_OLD);
}

static __always_inline bool is_mpls(__be16 type)
{
	return type == bpf_htons(ETHERTYPE_MPLS) || type == bpf_htons(ETHERTYPE_MPLS_MULTICAST);
}

static __always_inline bool is_ipv6_option(__u8 next)
{
	return next == IP_HOP_BY_HOP || next == IP_ROUTING || next == IP_FRAGMENT || next == IP_AUTHENTICATION ||
	       next == IP_DESTINATION || next == IP_MOBILITY || next == IP_HIP || next == IP_SHIM6;
}

static __always_inline void copy_address(__u8 *to, const __be32 *from)
{
	__u32 *words = (__u32 *)to;

	words[0] = from[0];
	words[1] = from[1];
	words[2] = from[2];
	words[3] = from[3];
}

static __always_inline void note_tag(struct packet *packet, __u16 tci)
{
	__u16 tag = VLAN_TAGGED | (tci & 0xfff);

	if (packet->tags == 0)
		packet->key.vlan = tag;
	else
		packet->key.inner_vlan = tag;
	packet->tags++;
}

/* Ethernet, tags and labels; leaves the ethertype of what follows in `packet`. Returns its offset, or below 0. */
static __always_inline int parse_link(void *data, void *end, struct packet *packet)
{
	struct ethernet_header *ethernet;
	struct vlan_header *vlan;
	__u32 offset = 0;
	__be16 type;
	__u8 *label;

	ethernet = AT(sizeof(*ethernet), -CUT(MALFORMED_ETHERNET));
	type = ethernet->type;
	offset += sizeof(*ethernet);
#pragma unroll
	for (int tag = 0; tag < MAX_VLAN_TAGS; tag++) {
		if (!is_vlan(type))
			break;
		vlan = AT(sizeof(*vlan), -CUT(MALFORMED_VLAN));
		if (packet->tags >= MAX_VLAN_TAGS)
			return -CUT(MALFORMED_VLAN_DEPTH);
		note_tag(packet, bpf_ntohs(vlan->tci));
		type = vlan->type;
		offset += sizeof(*vlan);
	}
	if (is_vlan(type))
		return -CUT(MALFORMED_VLAN_DEPTH);
	if (!is_mpls(type)) {
		packet->ethertype = type;
		return offset;
	}
#pragma unroll
	for (int labels = 0; labels < MAX_MPLS_LABELS; labels++) {
		/* with the byte behind it, which tells what the labels carry */
		label = AT(5, -CUT(MALFORMED_MPLS));
		offset += 4;
		if (label[2] & 1) {
			__u8 version = label[4] >> 4;

			packet->ethertype = version == 4 ? bpf_htons(ETHERTYPE_IPV4) :
					    version == 6 ? bpf_htons(ETHERTYPE_IPV6) : type;
			return offset;
		}
	}
	return -CUT(MALFORMED_MPLS);
}

static __always_inline void set_addresses(struct packet *packet, const __be32 *source, const __be32 *destination,
					  bool is_ipv6)
{
	__u8 *from = packet->direction == EGRESS ? packet->key.local : packet->key.remote;
	__u8 *to = packet->direction == EGRESS ? packet->key.remote : packet->key.local;

	if (is_ipv6) {
		copy_address(from, source);
		copy_address(to, destination);
	} else {
		*(__be32 *)from = *source;
		*(__be32 *)to = *destination;
	}
}

static __always_inline void set_ports(struct packet *packet, __be16 source, __be16 destination)
{
	packet->key.local_port = packet->direction == EGRESS ? source : destination;
	packet->key.remote_port = packet->direction == EGRESS ? destination : source;
}

/* Returns the offset of what the header carries, or below 0. */
static __always_inline int parse_ipv4(void *data, void *end, __u32 offset, struct packet *packet)
{
	struct ipv4_header *ip = AT(sizeof(*ip), -CUT(MALFORMED_IPV4));
	__u32 header = (ip->version_and_length & 0xf) * 4, total = bpf_ntohs(ip->total_length);
	__u16 fragment = bpf_ntohs(ip->fragment);

	if (ip->version_and_length >> 4 != 4 || header < sizeof(*ip))
		return -CUT(MALFORMED_IPV4_LENGTH);
	/* 0: a buffer of more than 64 KiB */
	if ((total && total < header) || offset + header > packet->length || offset + total > packet->length)
		return -CUT(MALFORMED_IPV4_LENGTH);
	packet->network_end = total ? offset + total : packet->length;
	packet->key.family = 4;
	packet->key.protocol = ip->protocol;
	set_addresses(packet, &ip->source, &ip->destination, false);
	if (fragment & (IPV4_FRAGMENT_OFFSET | IPV4_MORE_FRAGMENTS)) {
		packet->fragment = fragment & IPV4_FRAGMENT_OFFSET ? FRAGMENT_LATER : FRAGMENT_FIRST;
		packet->datagram = ip->id;
	}
	return offset + header;
}

static __always_inline __u32 ipv6_option_length(const struct ipv6_option *option, __u8 kind)
{
	if (kind == IP_FRAGMENT)
		return sizeof(*option);
	return kind == IP_AUTHENTICATION ? (option->length + 2) * 4 : (option->length + 1) * 8;
}

static __always_inline int parse_ipv6(void *data, void *end, __u32 offset, struct packet *packet)
{
	struct ipv6_header *ip = AT(sizeof(*ip), -CUT(MALFORMED_IPV6));
	__u32 payload = bpf_ntohs(ip->payload_length);
	struct ipv6_option *option;
	__u8 next = ip->next;

	if (bpf_ntohl(ip->version_and_flow) >> 28 != 6)
		return -CUT(MALFORMED_IPV6);
	offset += sizeof(*ip);
	if (offset + payload > packet->length)
		return -CUT(MALFORMED_IPV6);
	packet->network_end = payload ? offset + payload : packet->length;
	packet->key.family = 6;
	set_addresses(packet, ip->source, ip->destination, true);
#pragma unroll
	for (int options = 0; options < MAX_IPV6_OPTIONS; options++) {
		if (!is_ipv6_option(next) || packet->fragment == FRAGMENT_LATER)
			break;
		option = AT(sizeof(*option), -CUT(MALFORMED_IPV6_OPTIONS));
		if (next == IP_FRAGMENT && (option->fragment & bpf_htons(0xfff9))) {
			packet->fragment = option->fragment & bpf_htons(0xfff8) ? FRAGMENT_LATER : FRAGMENT_FIRST;
			packet->datagram = option->id;
		}
		offset += ipv6_option_length(option, next);
		next = option->next;
	}
	if (is_ipv6_option(next) && packet->fragment != FRAGMENT_LATER)
		return -CUT(MALFORMED_IPV6_OPTIONS);
	if (offset > packet->network_end)
		return -CUT(MALFORMED_IPV6_OPTIONS);
	packet->key.protocol = next;
	return offset;
}

static __always_inline int parse_tcp(void *data, void *end, __u32 offset, struct packet *packet)
{
	struct tcp_header *tcp = AT(sizeof(*tcp), CUT(MALFORMED_TCP));
	__u32 header = (tcp->length >> 4) * 4;

	if (header < sizeof(*tcp) || offset + header > packet->network_end)
		return CUT(MALFORMED_TCP);
	set_ports(packet, tcp->source, tcp->destination);
	packet->sequence = bpf_ntohl(tcp->sequence);
	packet->acknowledgement = bpf_ntohl(tcp->acknowledgement);
	packet->window = bpf_ntohs(tcp->window);
	packet->tcp_flags = tcp->flags;
	packet->payload_offset = offset + header;
	return PARSED_FLOW;
}

static __always_inline int parse_udp(void *data, void *end, __u32 offset, struct packet *packet)
{
	struct udp_header *udp = AT(sizeof(*udp), CUT(MALFORMED_UDP));
	__u32 length = bpf_ntohs(udp->length), room = packet->network_end - offset;

	/* the length covers all fragments; a buffer of several datagrams tells that of one, or none */
	if (offset + sizeof(*udp) > packet->network_end || (length && length < sizeof(*udp)))
		return CUT(MALFORMED_UDP);
	if (length > room && packet->fragment == FRAGMENT_NONE && packet->key.protocol == IP_UDP)
		return CUT(MALFORMED_UDP);
	set_ports(packet, udp->source, udp->destination);
	packet->payload_offset = offset + sizeof(*udp);
	if (length && packet->segments == 1 && packet->fragment == FRAGMENT_NONE && packet->key.protocol == IP_UDP)
		packet->network_end = offset + length;
	return PARSED_FLOW;
}

static __always_inline int parse_sctp(void *data, void *end, __u32 offset, struct packet *packet)
{
	__be16 *ports = AT(12, CUT(MALFORMED_SCTP));

	if (offset + 12 > packet->network_end)
		return CUT(MALFORMED_SCTP);
	set_ports(packet, ports[0], ports[1]);
	packet->payload_offset = offset + 12;
	return PARSED_FLOW;
}

static __always_inline int parse_icmp(void *data, void *end, __u32 offset, struct packet *packet)
{
	__u32 size = packet->key.protocol == IP_ICMP ? 8 : 4;
	__u8 *icmp = AT(4, CUT(MALFORMED_ICMP));

	if (offset + size > packet->network_end)
		return CUT(MALFORMED_ICMP);
	packet->icmp_type = icmp[0];
	packet->icmp_code = icmp[1];
	packet->payload_offset = offset + size;
	return PARSED_FLOW;
}

static __always_inline int parse_transport(void *data, void *end, __u32 offset, struct packet *packet)
{
	packet->transport_offset = offset;
	packet->payload_offset = offset;
	if (packet->fragment == FRAGMENT_LATER)
		return PARSED_FLOW;
	switch (packet->key.protocol) {
	case IP_TCP:
		return parse_tcp(data, end, offset, packet);
	case IP_UDP:
	case IP_UDPLITE:
		return parse_udp(data, end, offset, packet);
	case IP_SCTP:
		return parse_sctp(data, end, offset, packet);
	case IP_ICMP:
	case IP_ICMPV6:
		return parse_icmp(data, end, offset, packet);
	default:
		return PARSED_FLOW;
	}
}

static __always_inline int parse_network(void *data, void *end, int offset, struct packet *packet)
{
	if (packet->ethertype == bpf_htons(ETHERTYPE_IPV4))
		return parse_ipv4(data, end, offset, packet);
	if (packet->ethertype == bpf_htons(ETHERTYPE_IPV6))
		return parse_ipv6(data, end, offset, packet);
	if (packet->ethertype == bpf_htons(ETHERTYPE_ARP) && offset + 28 > (int)packet->length)
		return -CUT(MALFORMED_ARP);
	return -PARSED_NOT_IP;
}

static __always_inline int parse_bytes(void *data, void *end, struct packet *packet)
{
	int offset = settings.has_link_header ? parse_link(data, end, packet) : 0, result;

	if (offset < 0)
		return -offset;
	packet->network_offset = offset;
	offset = parse_network(data, end, offset, packet);
	if (offset < 0)
		return -offset;
	result = parse_transport(data, end, offset, packet);
	if (result == PARSED_FLOW)
		packet->payload_length = packet->network_end - packet->payload_offset;
	return result;
}

/* Both return what enum parsed says; `packet` is there always, the verifier wants to see it checked. */
__noinline int parse_xdp(struct xdp_md *ctx, struct packet *packet)
{
	if (!packet)
		return CUT(MALFORMED_ETHERNET);
	return parse_bytes((void *)(long)ctx->data, (void *)(long)ctx->data_end, packet);
}

__noinline int parse_tc(struct __sk_buff *ctx, struct packet *packet)
{
	if (!packet)
		return CUT(MALFORMED_ETHERNET);
	return parse_bytes((void *)(long)ctx->data, (void *)(long)ctx->data_end, packet);
}

/* The ports of a fragment: the first one tells, the later ones ask. */
static __always_inline void settle_fragment(struct packet *packet)
{
	struct datagram_key key = {};
	__u32 *known, ports;

	__builtin_memcpy(key.remote, packet->key.remote, sizeof(key.remote));
	__builtin_memcpy(key.local, packet->key.local, sizeof(key.local));
	key.id = packet->datagram;
	key.interface = packet->key.interface;
	key.protocol = packet->key.protocol;
	key.direction = packet->direction;
	if (packet->fragment == FRAGMENT_FIRST) {
		ports = (__u32)packet->key.remote_port << 16 | packet->key.local_port;
		bpf_map_update_elem(&datagrams, &key, &ports, BPF_ANY);
		return;
	}
	known = bpf_map_lookup_elem(&datagrams, &key);
	if (known) {
		packet->key.remote_port = *known >> 16;
		packet->key.local_port = (__u16)*known;
	}
}

#endif
