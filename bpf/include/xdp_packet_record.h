/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * A packet in the ring: see struct packet_record.
 */
#ifndef UNIVERSAL_TRACER_XDP_PACKET_RECORD_H
#define UNIVERSAL_TRACER_XDP_PACKET_RECORD_H

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
