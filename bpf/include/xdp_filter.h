/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * --filter: room for a pcap expression.
 *
 * The two functions hold nothing but room. native/core/src/xdp/filter translates the expression, and writes the
 * result over these instructions before the object is loaded; what is not needed of the room is dropped by the
 * kernel. Both take the frame as it was on the wire: behind TC, a VLAN tag beside the bytes is put in its place.
 *
 * The functions are global (not static): the kernel checks each of them once, and not once per path to it. The
 * result comes out of assembler, so that the compiler cannot know it and leave the call out.
 */
#ifndef UNIVERSAL_TRACER_XDP_FILTER_H
#define UNIVERSAL_TRACER_XDP_FILTER_H

#include "vmlinux.h"

/* Instructions; the same number as ROOM in native/core/src/xdp/filter/install.rs. */
#define FILTER_ROOM 8192

#define FILTER_TEXT_OF(number) #number
#define FILTER_TEXT(number) FILTER_TEXT_OF(number)
#define FILTER_FILL ".rept " FILTER_TEXT(FILTER_ROOM) "\n%0 = 1\n.endr\n"

/* Whether the frame matches the expression. */
__attribute__((noinline)) int filter_xdp(struct xdp_md *ctx)
{
	int matches;

	asm volatile(FILTER_FILL : "=r"(matches) : "r"(ctx));
	return matches;
}

__attribute__((noinline)) int filter_tc(struct __sk_buff *skb)
{
	int matches;

	asm volatile(FILTER_FILL : "=r"(matches) : "r"(skb));
	return matches;
}

#endif
