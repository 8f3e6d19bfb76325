/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * What is known of a packet, and how a frame's bytes are reached.
 *
 * The place in the frame is a plain number that is checked against a bound before every access: so the verifier
 * compares numbers instead of packet pointers of unknown offset, which costs it 10,000 steps instead of a million.
 */
#ifndef UNIVERSAL_TRACER_XDP_PACKET_H
#define UNIVERSAL_TRACER_XDP_PACKET_H

#define MAX_OFFSET 1984 /* of a header in its frame */

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
	__u64 socket;	      /* see xdp_owner.h; 0 = none, or not asked for */
	struct flow_owner owner;
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

static __always_inline void copy_address(__u8 *to, const __be32 *from)
{
	__u32 *words = (__u32 *)to;

	words[0] = from[0];
	words[1] = from[1];
	words[2] = from[2];
	words[3] = from[3];
}

/* One side of a key as addresses of a flow or of an inner one; `is_sent`: the source is local. */
static __always_inline void place_addresses(__u8 *remote, __u8 *local, bool is_sent, const __be32 *source,
					    const __be32 *destination, bool is_ipv6)
{
	__u8 *from = is_sent ? local : remote;
	__u8 *to = is_sent ? remote : local;

	if (is_ipv6) {
		copy_address(from, source);
		copy_address(to, destination);
	} else {
		*(__be32 *)from = *source;
		*(__be32 *)to = *destination;
	}
}

#endif
