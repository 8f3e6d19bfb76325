/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Sequence numbers, and what a direction's packets have to be looked at for.
 */
#ifndef UNIVERSAL_TRACER_XDP_TCP_STATE_H
#define UNIVERSAL_TRACER_XDP_TCP_STATE_H

static __always_inline bool is_behind(__u32 sequence, __u32 reference)
{
	return (__s32)(sequence - reference) < 0;
}

static __always_inline void watch(struct flow_half *half, __u32 bits)
{
	if ((half->watch & bits) != bits)
		__sync_fetch_and_or(&half->watch, bits);
}

static __always_inline void unwatch(struct flow_half *half, __u32 bits)
{
	if (half->watch & bits)
		__sync_fetch_and_and(&half->watch, ~bits);
}

#endif
