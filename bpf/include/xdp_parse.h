/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * From a frame to the key of its flow, in bounded steps.
 *
 * The results go through memory (struct packet): what was found out on the way is forgotten at once. parse_xdp() and
 * parse_tc() are functions of their own for the verifier, which looks at each once.
 */
#ifndef UNIVERSAL_TRACER_XDP_PARSE_H
#define UNIVERSAL_TRACER_XDP_PARSE_H

#include "xdp_headers.h"
#include "xdp_packet.h"
#include "xdp_link.h"
#include "xdp_network.h"
#include "xdp_transport.h"
#include "xdp_fragments.h"

static __always_inline int parse_bytes(void *data, void *end, struct packet *packet)
{
	int offset = settings.has_link_header ? parse_link(data, end, packet) : 0, result;

	if (offset < 0)
		return -offset;
	packet->network_offset = offset;
	offset = parse_network(data, end, offset, packet);
	if (offset < 0)
		return -offset;
	result = parse_transport(data, end, offset, packet);
	if (result == PARSED_FLOW)
		packet->payload_length = packet->network_end - packet->payload_offset;
	return result;
}

/* Both return what enum parsed says; `packet` is there always, the verifier wants to see it checked. */
__noinline int parse_xdp(struct xdp_md *ctx, struct packet *packet)
{
	if (!packet)
		return CUT(MALFORMED_ETHERNET);
	return parse_bytes((void *)(long)ctx->data, (void *)(long)ctx->data_end, packet);
}

__noinline int parse_tc(struct __sk_buff *ctx, struct packet *packet)
{
	if (!packet)
		return CUT(MALFORMED_ETHERNET);
	return parse_bytes((void *)(long)ctx->data, (void *)(long)ctx->data_end, packet);
}

#endif
