/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * The arrays that hold the flow table, and how full it is.
 */
#ifndef UNIVERSAL_TRACER_XDP_FLOW_MAPS_H
#define UNIVERSAL_TRACER_XDP_FLOW_MAPS_H

#include "xdp_places.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* settings.sets */
	__type(key, __u32);
	__type(value, struct flow_set);
} flow_sets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, SET_PLACES); /* settings.sets * SET_PLACES */
	__type(key, __u32);
	__type(value, struct flow_entry);
} flows SEC(".maps");

/* Directions of entries in use, of settings.capacity. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} flows_used SEC(".maps");

static __always_inline struct flow_entry *entry_at(__u32 set, __u32 place)
{
	__u32 index = set * SET_PLACES + place;

	return bpf_map_lookup_elem(&flows, &index);
}

static __always_inline bool has_room(void)
{
	__u32 first = 0;
	__u64 *used = bpf_map_lookup_elem(&flows_used, &first);

	return used && *(volatile __u64 *)used < settings.capacity;
}

static __always_inline void count_used(__s64 more)
{
	__u32 first = 0;
	__u64 *used = bpf_map_lookup_elem(&flows_used, &first);

	if (used)
		__sync_fetch_and_add(used, more);
}

#endif
