/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * What xdp_tracer.bpf.c and native/core/src/xdp have in common: the key of a
 * flow, an entry of the flow table, the ledger, and the records of the ring.
 *
 * Fixed-width members without hidden padding; native/core compares every
 * member's offset with the BTF of the object it loads. Addresses and ports are in
 * network order, everything else is in the machine's.
 */
#ifndef UNIVERSAL_TRACER_XDP_RECORDS_H
#define UNIVERSAL_TRACER_XDP_RECORDS_H

enum xdp_direction {
	INGRESS = 0, /* received by the interface */
	EGRESS = 1,  /* sent by the interface */
};

/* A tag in a key: VLAN_TAGGED and the identifier; 0 = no tag. */
#define VLAN_TAGGED 0x1000

/*
 * Both directions of a conversation at one interface have the same key: `local` is the side that the interface
 * receives for (the destination of what comes in, the source of what goes out). So an answer is found by the same
 * look-up as its question, and no comparison decides which side is which.
 */
struct flow_key {
	__u8 remote[16];   /* IPv4: in the first four bytes, the others 0 */
	__u8 local[16];
	__u16 remote_port; /* TCP, UDP, SCTP; else 0 */
	__u16 local_port;
	__u8 protocol;	   /* IP protocol number */
	__u8 family;	   /* 4 or 6 */
	__u16 interface;   /* the session's number of the interface, not its ifindex */
	__u16 vlan;	   /* outer tag */
	__u16 inner_vlan;
	__u32 tunnel_id;   /* VNI or GRE key of an inner flow */
	__u64 inner;	   /* hash of the inner flow's addresses and ports; 0 = no tunnel */
};

enum tunnel {
	TUNNEL_NONE = 0,
	TUNNEL_VXLAN = 1,
	TUNNEL_GENEVE = 2,
	TUNNEL_GRE = 3,
	TUNNEL_IPIP = 4,
};

/* The flow within a tunnel, seen from the same side as the outer key. */
struct inner_flow {
	__u8 remote[16];
	__u8 local[16];
	__u16 remote_port;
	__u16 local_port;
	__u8 protocol;
	__u8 family; /* 0: the tunnel carries something else than IP */
	__u8 tunnel; /* enum tunnel */
	__u8 reserved;
};

/* Bits of flow_half.watch: what this direction's packets have to be looked at for. Changed by atomics only. */
enum flow_watch {
	WATCH_ACK = 1 << 0,	/* the other direction waits for the acknowledgement of `awaited` */
	WATCH_ECHO = 1 << 1,	/* ... or for its time stamp `awaited` to come back */
	WATCH_FIN = 1 << 2,	/* the other direction has sent its FIN */
	WATCH_GAP = 1 << 3,	/* bytes of this direction are missing, see flow_entry.gap */
	FIN_ANSWERED = 1 << 4,	/* this direction's FIN was acknowledged */
	HAS_SEQUENCE = 1 << 5,	/* next_sequence is known */
	IS_PUSHED = 1 << 6,	/* the last payload ended a write: the next one may begin a message */
	HELLO_GOES_ON = 1 << 7, /* the next payload continues a TLS ClientHello */
	IS_HTTP2 = 1 << 8,	/* the preface was seen, in either direction */
};

/* One direction of a conversation: one `flow` event. A cache line of its own, 64 bytes. */
struct flow_half {
	__u64 buffers;	     /* program runs */
	__u64 bytes;	     /* on the wire: Ethernet frames without checksum */
	__u64 merged;	     /* packets on the wire beyond one a buffer */
	__u64 last_jiffies;
	__u32 next_sequence; /* behind the highest byte that was seen */
	__u32 awaited;	     /* see WATCH_ACK, WATCH_ECHO */
	__u32 rtt_us;	     /* smallest time from own packet to its answer; 0 = unknown */
	__u32 watch;	     /* enum flow_watch */
	__u32 http_requests;
	__u32 http_responses;
	__u32 retransmits;
	__u8 tcp_flags;	     /* all that were seen */
	__u8 icmp_type;	     /* of the first packet */
	__u8 icmp_code;
	__u8 reserved;
};

/* Bytes that are missing: [start, end), since `time_us`. */
struct flow_gap {
	__u32 start;
	__u32 end;
	__u32 time_us;
};

/*
 * An entry of the flow table, five cache lines; 0 = free.
 *
 * Counters only grow while the entry lives, and userspace reads them in place: draining loses nothing. See
 * xdp_table.h for how an entry comes and goes.
 */
struct flow_entry {
	struct flow_key key;
	__u32 pid;		  /* owner of the local socket; 0 = unknown */
	__u32 reserved_1;
	struct flow_half half[2]; /* by enum xdp_direction */
	/* rarely touched; by direction */
	__u64 first_jiffies[2];	  /* 0 = no packet yet */
	__u64 sent_ns[2];	  /* when the packet left for whose answer the other direction is watched */
	struct flow_gap gap[2];
	__u32 sampled_jiffies[2]; /* when a round trip was measured last */
	__u32 out_of_order[2];
	__u32 zero_window[2];
	struct inner_flow inner;
	__u64 reserved_2;
};

/*
 * The places of eight entries: a byte each, 0 = free, 1 = being filled, 2 = over (no packet finds it any more),
 * else a part of the key's hash.
 */
struct flow_set {
	__u64 places;
	__u32 overflowed; /* an entry of this set had to go to its other set */
	__u32 reserved;
};

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

/* What the payload of a packet looks like; more than one bit is never set. */
enum packet_kind {
	PACKET_PLAIN = 0,
	PACKET_HTTP_REQUEST = 1,
	PACKET_HTTP_RESPONSE = 2,
	PACKET_HTTP2 = 3, /* the preface, or a frame with headers */
	PACKET_TLS = 4,	  /* a handshake record that begins with ClientHello, or what follows it */
	PACKET_DNS = 5,
};

enum packet_flag {
	PACKET_TAG_ASIDE = 1 << 0, /* the outer tag is in tag_protocol and tag only, not in the bytes */
	PACKET_FRAGMENT = 1 << 1,  /* not the first one: no layer 4 header in it */
	PACKET_FOR_EVENT = 1 << 2, /* wanted as `packet` event (capture may want it, too) */
	PACKET_UNPARSED = 1 << 3,  /* not IP or malformed: the key is empty */
};

/*
 * A packet in the ring, followed by `captured` bytes from the frame's first byte on. 152 bytes.
 *
 * Sent only when something asks for it: settings.packet_events (`captured` is then at most settings.capture_bytes,
 * or PACKET_EVENT_BYTES where no capture runs) or settings.capture_bytes.
 */
struct packet_record {
	__u64 time_ns;	      /* CLOCK_MONOTONIC */
	struct flow_key key;
	struct inner_flow inner;
	__u32 wire_length;    /* the frame as on the wire; of a buffer of several segments all of it, headers once */
	__u32 captured;	      /* bytes behind this struct */
	__u32 payload_offset; /* of the layer 4 payload within the bytes; behind `captured`: none is there */
	__u32 payload_length; /* as the headers say, captured or not */
	__u32 sequence;	      /* TCP */
	__u32 pid;	      /* 0 = unknown */
	__u16 segments;	      /* packets on the wire that this buffer is */
	__u16 ethertype;      /* of what the frame carries, behind tags and labels; network order */
	__u16 tag_protocol;   /* see PACKET_TAG_ASIDE; network order */
	__u16 tag;	      /* TCI, machine's order */
	__u8 direction;	      /* enum xdp_direction */
	__u8 kind;	      /* enum packet_kind */
	__u8 flags;	      /* enum packet_flag */
	__u8 tcp_flags;
	__u8 icmp_type;
	__u8 icmp_code;
	__u8 reserved[10];
};

#define PACKET_EVENT_BYTES 768 /* headers and at least the 512 bytes of payload that the decoders want */

#endif
