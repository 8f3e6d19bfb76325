/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Ethernet, VLAN tags and MPLS labels: what lies before the network's header.
 */
#ifndef UNIVERSAL_TRACER_XDP_LINK_H
#define UNIVERSAL_TRACER_XDP_LINK_H

#define MAX_VLAN_TAGS 2
#define MAX_MPLS_LABELS 4

static __always_inline bool is_vlan(__be16 type)
{
	return type == bpf_htons(ETHERTYPE_VLAN) || type == bpf_htons(ETHERTYPE_QINQ) ||
	       type == bpf_htons(ETHERTYPE_QINQ_OLD);
}

static __always_inline bool is_mpls(__be16 type)
{
	return type == bpf_htons(ETHERTYPE_MPLS) || type == bpf_htons(ETHERTYPE_MPLS_MULTICAST);
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

#endif
