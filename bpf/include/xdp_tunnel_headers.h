/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * The headers of VXLAN, Geneve and GRE: where the inner frame or packet begins.
 */
#ifndef UNIVERSAL_TRACER_XDP_TUNNEL_HEADERS_H
#define UNIVERSAL_TRACER_XDP_TUNNEL_HEADERS_H

struct inner_start {
	__u32 offset;
	__u32 id;
	__be16 type; /* ETHERTYPE_TEB: an Ethernet frame */
	__u8 tunnel;
};

static __always_inline int start_of_vxlan(void *data, void *end, __u32 offset, struct inner_start *inner)
{
	struct vxlan_header *vxlan = AT(sizeof(*vxlan), 1);

	if (!(vxlan->flags & bpf_htonl(VXLAN_HAS_ID)))
		return 1;
	inner->tunnel = TUNNEL_VXLAN;
	inner->id = bpf_ntohl(vxlan->id) >> 8;
	inner->type = bpf_htons(ETHERTYPE_TEB);
	inner->offset = offset + sizeof(*vxlan);
	return 0;
}

static __always_inline int start_of_geneve(void *data, void *end, __u32 offset, struct inner_start *inner)
{
	struct geneve_header *geneve = AT(sizeof(*geneve), 1);

	if (geneve->length >> 6)
		return 1;
	inner->tunnel = TUNNEL_GENEVE;
	inner->id = bpf_ntohl(geneve->id) >> 8;
	inner->type = geneve->type;
	inner->offset = offset + sizeof(*geneve) + (geneve->length & 0x3f) * 4;
	return 0;
}

static __always_inline int start_of_gre(void *data, void *end, __u32 offset, struct inner_start *inner)
{
	struct gre_header *gre = AT(sizeof(*gre), 1);
	__u16 flags = bpf_ntohs(gre->flags);
	__be32 *key;

	if (flags & GRE_VERSION_AND_ROUTING)
		return 1;
	inner->tunnel = TUNNEL_GRE;
	inner->type = gre->type;
	offset += sizeof(*gre) + (flags & GRE_CHECKSUM ? 4 : 0);
	if (flags & GRE_KEY) {
		key = AT(sizeof(*key), 1);
		inner->id = bpf_ntohl(*key);
		offset += sizeof(*key);
	}
	inner->offset = offset + (flags & GRE_SEQUENCE ? 4 : 0);
	return 0;
}

static __always_inline int start_of_inner(void *data, void *end, const struct packet *packet,
					  struct inner_start *inner)
{
	__u32 offset = packet->payload_offset;
	__u16 port = bpf_ntohs(packet->direction == EGRESS ? packet->key.remote_port : packet->key.local_port);

	if (packet->key.protocol == IP_UDP)
		return port == PORT_GENEVE ? start_of_geneve(data, end, offset, inner) :
					     start_of_vxlan(data, end, offset, inner);
	if (packet->key.protocol == IP_GRE)
		return start_of_gre(data, end, offset, inner);
	inner->tunnel = TUNNEL_IPIP;
	inner->type = bpf_htons(packet->key.protocol == IP_IPIP ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6);
	inner->offset = offset;
	return 0;
}

#endif
