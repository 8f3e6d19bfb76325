/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * IPv4 with options, IPv6 with extension headers.
 */
#ifndef UNIVERSAL_TRACER_XDP_NETWORK_H
#define UNIVERSAL_TRACER_XDP_NETWORK_H

#define MAX_IPV6_OPTIONS 8

static __always_inline bool is_ipv6_option(__u8 next)
{
	return next == IP_HOP_BY_HOP || next == IP_ROUTING || next == IP_FRAGMENT || next == IP_AUTHENTICATION ||
	       next == IP_DESTINATION || next == IP_MOBILITY || next == IP_HIP || next == IP_SHIM6;
}

static __always_inline __u32 ipv6_option_length(const struct ipv6_option *option, __u8 kind)
{
	if (kind == IP_FRAGMENT)
		return sizeof(*option);
	return kind == IP_AUTHENTICATION ? (option->length + 2) * 4 : (option->length + 1) * 8;
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
	place_addresses(packet->key.remote, packet->key.local, packet->direction == EGRESS, &ip->source,
			&ip->destination, false);
	if (fragment & (IPV4_FRAGMENT_OFFSET | IPV4_MORE_FRAGMENTS)) {
		packet->fragment = fragment & IPV4_FRAGMENT_OFFSET ? FRAGMENT_LATER : FRAGMENT_FIRST;
		packet->datagram = ip->id;
	}
	return offset + header;
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
	place_addresses(packet->key.remote, packet->key.local, packet->direction == EGRESS, ip->source, ip->destination,
			true);
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

#endif
