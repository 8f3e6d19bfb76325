/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * What a payload looks like by its first bytes. Cheap, and sometimes wrong: userspace parses before it believes.
 */
#ifndef UNIVERSAL_TRACER_XDP_PAYLOAD_H
#define UNIVERSAL_TRACER_XDP_PAYLOAD_H

#define HEAD_BYTES 8 /* a shorter payload begins no message */
#define PORT_DNS 53
#define PORT_MDNS 5353

#define HTTP2_HEADERS 1
#define HTTP2_SETTINGS 4
#define HTTP2_WINDOW_UPDATE 8

/* Eight characters as they lie in memory. */
#define WORD(a, b, c, d, e, f, g, h)                                                                      \
	((__u64)(a) | (__u64)(b) << 8 | (__u64)(c) << 16 | (__u64)(d) << 24 | (__u64)(e) << 32 | (__u64)(f) << 40 | \
	 (__u64)(g) << 48 | (__u64)(h) << 56)
#define FIRST(count) ((1ULL << (count) * 8) - 1)

static __always_inline bool is_http_request(__u64 head)
{
	switch ((__u32)head) {
	case (__u32)WORD('G', 'E', 'T', ' ', 0, 0, 0, 0):
	case (__u32)WORD('P', 'U', 'T', ' ', 0, 0, 0, 0):
		return true;
	case (__u32)WORD('P', 'O', 'S', 'T', 0, 0, 0, 0):
	case (__u32)WORD('H', 'E', 'A', 'D', 0, 0, 0, 0):
		return (head >> 32 & 0xff) == ' ';
	case (__u32)WORD('P', 'A', 'T', 'C', 0, 0, 0, 0):
		return (head >> 32 & 0xffff) == ('H' | ' ' << 8);
	case (__u32)WORD('T', 'R', 'A', 'C', 0, 0, 0, 0):
		return (head >> 32 & 0xffff) == ('E' | ' ' << 8);
	case (__u32)WORD('D', 'E', 'L', 'E', 0, 0, 0, 0):
		return (head & FIRST(7)) == WORD('D', 'E', 'L', 'E', 'T', 'E', ' ', 0);
	case (__u32)WORD('O', 'P', 'T', 'I', 0, 0, 0, 0):
		return head == WORD('O', 'P', 'T', 'I', 'O', 'N', 'S', ' ');
	case (__u32)WORD('C', 'O', 'N', 'N', 0, 0, 0, 0):
		return head == WORD('C', 'O', 'N', 'N', 'E', 'C', 'T', ' ');
	default:
		return false;
	}
}

static __always_inline bool is_http_response(__u64 head)
{
	return (head & FIRST(7)) == WORD('H', 'T', 'T', 'P', '/', '1', '.', 0);
}

static __always_inline bool is_http2_preface(__u64 head)
{
	return head == WORD('P', 'R', 'I', ' ', '*', ' ', 'H', 'T');
}

/* A handshake record, of any version, that begins with a ClientHello. */
static __always_inline bool is_client_hello(__u64 head)
{
	return (head & 0xffff) == 0x0316 && (head >> 40 & 0xff) == 1;
}

static __always_inline __u32 tls_record_length(__u64 head)
{
	return (head >> 24 & 0xff) << 8 | (head >> 32 & 0xff);
}

static __always_inline bool may_hold_http2_headers(__u64 head)
{
	__u8 frame = head >> 24 & 0xff;

	return frame == HTTP2_HEADERS || frame == HTTP2_SETTINGS || frame == HTTP2_WINDOW_UPDATE;
}

static __always_inline __u8 kind_by_head(__u64 head, __u32 watch)
{
	if (is_http_request(head))
		return PACKET_HTTP_REQUEST;
	if (is_http_response(head))
		return PACKET_HTTP_RESPONSE;
	if (is_http2_preface(head) || ((watch & IS_HTTP2) && may_hold_http2_headers(head)))
		return PACKET_HTTP2;
	if (is_client_hello(head) || (watch & HELLO_GOES_ON))
		return PACKET_TLS;
	return PACKET_PLAIN;
}

static __always_inline bool is_dns(const struct packet *packet)
{
	__be16 local = packet->key.local_port, remote = packet->key.remote_port;

	return local == bpf_htons(PORT_DNS) || remote == bpf_htons(PORT_DNS) || local == bpf_htons(PORT_MDNS) ||
	       remote == bpf_htons(PORT_MDNS);
}

/* Remembers what the next packets of the connection have to be looked at for, and counts messages. */
static __always_inline void note_kind(struct flow_entry *entry, enum xdp_direction direction,
				      const struct packet *packet, __u64 head)
{
	struct flow_half *half = &entry->half[direction], *other = &entry->half[!direction];

	if (half->watch & HELLO_GOES_ON)
		__sync_fetch_and_and(&half->watch, ~HELLO_GOES_ON);
	switch (packet->kind) {
	case PACKET_HTTP_REQUEST:
		__sync_fetch_and_add(&half->http_requests, 1);
		break;
	case PACKET_HTTP_RESPONSE:
		__sync_fetch_and_add(&half->http_responses, 1);
		break;
	case PACKET_HTTP2:
		if (is_http2_preface(head)) {
			__sync_fetch_and_or(&half->watch, IS_HTTP2);
			__sync_fetch_and_or(&other->watch, IS_HTTP2);
		}
		break;
	case PACKET_TLS:
		if (is_client_hello(head) && tls_record_length(head) + 5 > packet->payload_length)
			__sync_fetch_and_or(&half->watch, HELLO_GOES_ON);
		break;
	}
}

/* The first bytes of the payload; 0 where they cannot be read, or nothing begins with them. */
static __always_inline __u64 read_head(void *ctx, bool is_xdp, const struct packet *packet, bool may_begin)
{
	struct __sk_buff *skb = ctx;
	struct xdp_md *xdp = ctx;
	void *data = (void *)(long)(is_xdp ? xdp->data : skb->data);
	void *end = (void *)(long)(is_xdp ? xdp->data_end : skb->data_end);
	__u32 offset = packet->payload_offset;
	__u64 head = 0;
	__u8 *bytes;

	if (packet->payload_length < HEAD_BYTES || offset > MAX_OFFSET)
		return 0;
	bytes = data + offset;
	if (bytes + HEAD_BYTES <= (__u8 *)end)
		return *(__u64 *)bytes;
	/* only for what follows the end of a write: the helper costs more than everything else */
	if (!is_xdp && may_begin)
		bpf_skb_load_bytes(skb, offset, &head, sizeof(head));
	return head;
}

static __always_inline void look_at_payload(void *ctx, bool is_xdp, struct packet *packet, struct flow_entry *entry,
					    enum xdp_direction direction)
{
	struct flow_half *half = entry ? &entry->half[direction] : NULL;
	__u32 seen = half ? half->watch : 0;
	bool may_begin = !half || half->buffers <= 4 || (seen & (IS_PUSHED | HELLO_GOES_ON | IS_HTTP2));
	__u64 head;

	if (packet->key.protocol != IP_TCP || !packet->payload_length || packet->inner.tunnel)
		return;
	head = read_head(ctx, is_xdp, packet, may_begin);
	packet->kind = head ? kind_by_head(head, seen) : PACKET_PLAIN;
	if (!half)
		return;
	if (packet->kind != PACKET_PLAIN || (seen & HELLO_GOES_ON))
		note_kind(entry, direction, packet, head);
	if (packet->tcp_flags & TCP_PSH)
		watch(half, IS_PUSHED);
	else
		unwatch(half, IS_PUSHED);
}

#endif
