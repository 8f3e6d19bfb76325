/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * The flow within a VXLAN, Geneve, GRE or IPIP tunnel, one level deep.
 *
 * What cannot be read as a tunnel on such a port is an ordinary packet: the outer flow counts it.
 */
#ifndef UNIVERSAL_TRACER_XDP_TUNNEL_H
#define UNIVERSAL_TRACER_XDP_TUNNEL_H

#include "xdp_tunnel_headers.h"

#define MAX_INNER_OPTIONS 4

static __always_inline bool may_be_tunnel(const struct packet *packet)
{
	__u16 local = bpf_ntohs(packet->key.local_port), remote = bpf_ntohs(packet->key.remote_port);
	__u16 port = packet->direction == EGRESS ? remote : local;

	if (packet->fragment == FRAGMENT_LATER)
		return false;
	if (packet->key.protocol == IP_UDP)
		return port == PORT_VXLAN || port == PORT_GENEVE || port == PORT_VXLAN_OLD;
	return packet->key.protocol == IP_GRE || packet->key.protocol == IP_IPIP || packet->key.protocol == IP_IPV6;
}

static __always_inline int read_inner_ports(void *data, void *end, __u32 offset, struct packet *packet)
{
	__u8 protocol = packet->inner.protocol;
	__be16 *ports;

	if (protocol != IP_TCP && protocol != IP_UDP && protocol != IP_SCTP)
		return 0;
	ports = AT(4, 0);
	packet->inner.local_port = packet->direction == EGRESS ? ports[0] : ports[1];
	packet->inner.remote_port = packet->direction == EGRESS ? ports[1] : ports[0];
	return 0;
}

static __always_inline int read_inner_ipv4(void *data, void *end, __u32 offset, struct packet *packet)
{
	struct ipv4_header *ip = AT(sizeof(*ip), 1);
	__u32 header = (ip->version_and_length & 0xf) * 4;

	if (ip->version_and_length >> 4 != 4 || header < sizeof(*ip))
		return 1;
	packet->inner.family = 4;
	packet->inner.protocol = ip->protocol;
	place_addresses(packet->inner.remote, packet->inner.local, packet->direction == EGRESS, &ip->source,
			&ip->destination, false);
	if (ip->fragment & bpf_htons(IPV4_FRAGMENT_OFFSET))
		return 0;
	return read_inner_ports(data, end, offset + header, packet);
}

static __always_inline int read_inner_ipv6(void *data, void *end, __u32 offset, struct packet *packet)
{
	struct ipv6_header *ip = AT(sizeof(*ip), 1);
	struct ipv6_option *option;
	__u8 next = ip->next;

	if (bpf_ntohl(ip->version_and_flow) >> 28 != 6)
		return 1;
	packet->inner.family = 6;
	place_addresses(packet->inner.remote, packet->inner.local, packet->direction == EGRESS, ip->source,
			ip->destination, true);
	offset += sizeof(*ip);
	for (int options = 0; options < MAX_INNER_OPTIONS && is_ipv6_option(next); options++) {
		packet->inner.protocol = next;
		option = AT(sizeof(*option), 0);
		offset += ipv6_option_length(option, next);
		if (next == IP_FRAGMENT && (option->fragment & bpf_htons(0xfff8))) {
			packet->inner.protocol = option->next;
			return 0;
		}
		next = option->next;
	}
	packet->inner.protocol = next;
	return read_inner_ports(data, end, offset, packet);
}

static __always_inline int read_inner_network(void *data, void *end, __u32 offset, __be16 type, struct packet *packet)
{
	if (type == bpf_htons(ETHERTYPE_IPV4))
		return read_inner_ipv4(data, end, offset, packet);
	if (type == bpf_htons(ETHERTYPE_IPV6))
		return read_inner_ipv6(data, end, offset, packet);
	return 0;
}

static __always_inline int read_inner_frame(void *data, void *end, __u32 offset, struct packet *packet)
{
	struct ethernet_header *ethernet = AT(sizeof(*ethernet), 1);
	__be16 type = ethernet->type;
	struct vlan_header *vlan;

	offset += sizeof(*ethernet);
	if (is_vlan(type)) {
		vlan = AT(sizeof(*vlan), 1);
		type = vlan->type;
		offset += sizeof(*vlan);
	}
	return read_inner_network(data, end, offset, type, packet);
}

/* Fills packet->inner; 0 where there is an inner flow. */
static __always_inline int parse_inner(void *data, void *end, struct packet *packet)
{
	struct inner_start inner = {};
	int failed;

	if (start_of_inner(data, end, packet, &inner))
		return 1;
	packet->key.tunnel_id = inner.id;
	packet->inner.tunnel = inner.tunnel;
	if (inner.type == bpf_htons(ETHERTYPE_TEB))
		failed = read_inner_frame(data, end, inner.offset, packet);
	else
		failed = read_inner_network(data, end, inner.offset, inner.type, packet);
	return failed;
}

__noinline int parse_inner_xdp(struct xdp_md *ctx, struct packet *packet)
{
	return packet ? parse_inner((void *)(long)ctx->data, (void *)(long)ctx->data_end, packet) : 1;
}

__noinline int parse_inner_tc(struct __sk_buff *ctx, struct packet *packet)
{
	return packet ? parse_inner((void *)(long)ctx->data, (void *)(long)ctx->data_end, packet) : 1;
}

/* After parse_inner_…(): the key tells inner flows apart, or nothing was found. */
static __always_inline void settle_inner(struct packet *packet, int failed)
{
	const __u64 *words = (const __u64 *)&packet->inner;
	__u64 hash = settings.hash_seed;

	if (failed) {
		__builtin_memset(&packet->inner, 0, sizeof(packet->inner));
		packet->key.tunnel_id = 0;
		return;
	}
#pragma unroll
	for (__u32 word = 0; word < sizeof(packet->inner) / 8; word++)
		hash = mix(hash, words[word]);
	packet->key.inner = hash | 1;
}

#endif
