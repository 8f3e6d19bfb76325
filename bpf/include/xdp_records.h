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

/* How much is known of a flow's process. */
enum owner_state {
	OWNER_UNASKED = 0,
	OWNER_UNKNOWN = 1, /* a local socket that no process was seen to use yet */
	OWNER_LISTENS = 2, /* the process that listens: who accepts may be another one */
	OWNER_KNOWN = 3,
	OWNER_NOBODY = 4,  /* forwarded, or the kernel's own */
};

struct flow_owner {
	__u32 pid;   /* 0 = none */
	__u8 state;  /* enum owner_state */
	__u8 wanted; /* a target's */
	__u16 reserved;
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
	struct flow_owner owner;
	struct flow_half half[2]; /* by enum xdp_direction */
	/* rarely touched; by direction */
	__u64 first_jiffies[2];	  /* 0 = no packet yet */
	__u64 sent_ns[2];	  /* when the packet left for whose answer the other direction is watched */
	struct flow_gap gap[2];
	__u32 sampled_jiffies[2]; /* when a round trip was measured last */
	__u32 out_of_order[2];
	__u32 zero_window[2];
	struct inner_flow inner;
	__u64 socket;		  /* cookie, or address: see xdp_owner.h; 0 = none */
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

#include "xdp_ledger.h"
#include "xdp_packet_record.h"

#endif
