/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * TCP, UDP, SCTP, ICMP and ICMPv6: ports, and where the payload begins.
 */
#ifndef UNIVERSAL_TRACER_XDP_TRANSPORT_H
#define UNIVERSAL_TRACER_XDP_TRANSPORT_H

static __always_inline void set_ports(struct packet *packet, __be16 source, __be16 destination)
{
	packet->key.local_port = packet->direction == EGRESS ? source : destination;
	packet->key.remote_port = packet->direction == EGRESS ? destination : source;
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

#endif
