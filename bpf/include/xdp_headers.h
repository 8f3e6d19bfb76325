/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Headers as they are on the wire, and the numbers in them. Network order.
 */
#ifndef UNIVERSAL_TRACER_XDP_HEADERS_H
#define UNIVERSAL_TRACER_XDP_HEADERS_H

#define ETHERTYPE_IPV4 0x0800
#define ETHERTYPE_ARP 0x0806
#define ETHERTYPE_TEB 0x6558 /* an Ethernet frame within a tunnel */
#define ETHERTYPE_VLAN 0x8100
#define ETHERTYPE_QINQ 0x88a8
#define ETHERTYPE_QINQ_OLD 0x9100
#define ETHERTYPE_IPV6 0x86dd
#define ETHERTYPE_MPLS 0x8847
#define ETHERTYPE_MPLS_MULTICAST 0x8848

enum ip_protocol {
	IP_ICMP = 1, IP_IPIP = 4, IP_TCP = 6, IP_UDP = 17, IP_IPV6 = 41, IP_GRE = 47, IP_ICMPV6 = 58, IP_SCTP = 132,
	IP_UDPLITE = 136,
	/* extension headers of IPv6 */
	IP_HOP_BY_HOP = 0, IP_ROUTING = 43, IP_FRAGMENT = 44, IP_AUTHENTICATION = 51, IP_DESTINATION = 60,
	IP_MOBILITY = 135, IP_HIP = 139, IP_SHIM6 = 140,
};

struct ethernet_header {
	__u8 destination[6];
	__u8 source[6];
	__be16 type;
} __attribute__((packed));

struct vlan_header {
	__be16 tci;
	__be16 type;
};

struct ipv4_header {
	__u8 version_and_length;
	__u8 service;
	__be16 total_length;
	__be16 id;
	__be16 fragment;
	__u8 ttl;
	__u8 protocol;
	__be16 checksum;
	__be32 source;
	__be32 destination;
};

struct ipv6_header {
	__be32 version_and_flow;
	__be16 payload_length;
	__u8 next;
	__u8 hops;
	__be32 source[4];
	__be32 destination[4];
};

struct ipv6_option {
	__u8 next;
	__u8 length; /* in units of eight bytes beyond the first */
	__be16 fragment;
	__be32 id;
};

struct tcp_header {
	__be16 source;
	__be16 destination;
	__be32 sequence;
	__be32 acknowledgement;
	__u8 length;
	__u8 flags;
	__be16 window;
	__be16 checksum;
	__be16 urgent;
};

struct udp_header {
	__be16 source;
	__be16 destination;
	__be16 length;
	__be16 checksum;
};

struct vxlan_header {
	__be32 flags;
	__be32 id;
};

struct geneve_header {
	__u8 length; /* of the options, in units of four bytes; two bits of version above */
	__u8 flags;
	__be16 type;
	__be32 id;
};

struct gre_header {
	__be16 flags;
	__be16 type;
};

#define IPV4_MORE_FRAGMENTS 0x2000
#define IPV4_FRAGMENT_OFFSET 0x1fff

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_PSH 0x08
#define TCP_ACK 0x10

#define VXLAN_HAS_ID 0x08000000
#define GRE_CHECKSUM 0x8000
#define GRE_KEY 0x2000
#define GRE_SEQUENCE 0x1000
#define GRE_VERSION_AND_ROUTING 0x4007

#define PORT_VXLAN 4789
#define PORT_VXLAN_OLD 8472
#define PORT_GENEVE 6081

#endif
