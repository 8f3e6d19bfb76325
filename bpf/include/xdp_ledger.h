/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * What became of every program run: see struct ledger.
 */
#ifndef UNIVERSAL_TRACER_XDP_LEDGER_H
#define UNIVERSAL_TRACER_XDP_LEDGER_H

/* Why a packet is in no flow. The order is the one of MALFORMED in native/core/src/xdp/ledger.rs. */
enum malformed {
	MALFORMED_ETHERNET = 0,	   /* too short for a frame */
	MALFORMED_VLAN = 1,	   /* a tag is cut off */
	MALFORMED_VLAN_DEPTH = 2,  /* more than two tags */
	MALFORMED_MPLS = 3,	   /* cut off, or more than four labels */
	MALFORMED_ARP = 4,
	MALFORMED_IPV4 = 5,	   /* header cut off */
	MALFORMED_IPV4_LENGTH = 6, /* version, header length or total length impossible */
	MALFORMED_IPV6 = 7,
	MALFORMED_IPV6_OPTIONS = 8, /* extension headers cut off, or more than eight */
	MALFORMED_TCP = 9,	   /* header cut off, or its length impossible */
	MALFORMED_UDP = 10,
	MALFORMED_SCTP = 11,
	MALFORMED_ICMP = 12,
	MALFORMED_TUNNEL = 13,	   /* the outer header promises more than there is */
	MALFORMED_REASONS = 14,
};

/* Classes of network_packets_total; the order is the one of PROTOCOLS in native/core/src/xdp/ledger.rs. */
enum protocol_class {
	CLASS_TCP = 0,
	CLASS_UDP = 1,
	CLASS_ICMP = 2,
	CLASS_ICMPV6 = 3,
	CLASS_SCTP = 4,
	CLASS_OTHER = 5,
	CLASS_NON_IP = 6,
	CLASSES = 7,
};

struct traffic {
	__u64 packets; /* on the wire */
	__u64 bytes;
};

/*
 * What became of every program run at one interface, in one direction, on one CPU:
 * runs = flows + filtered + sampled_out + not_ip + other + all of malformed.
 */
struct ledger {
	__u64 runs;
	__u64 flows;
	__u64 filtered;	   /* by --filter, or of no target's socket */
	__u64 sampled_out;
	__u64 not_ip;
	__u64 other;	   /* no room in the flow table, or flows are not tracked */
	__u64 malformed[MALFORMED_REASONS];
	struct traffic traffic[CLASSES];
	struct traffic unflowed; /* what `other` stands for */
	__u64 skip;	   /* packets still to leave out before the next one is sampled */
	__u64 events_lost; /* packets that should have become records and found the ring full */
	__u64 events_capped; /* … or came beyond the most that are told in a second */
	__u64 reserved;
};

#endif
