/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * The flow table: sets of eight entries in two memory-mapped arrays, shared by all CPUs.
 *
 * A stock hash map costs 170 to 450 ns a packet at 65,536 flows; here it is one load of the set's eight places, a
 * comparison of all eight at once, and the entry's own cache lines. Counters are atomics, so the table's size does
 * not depend on the number of CPUs and one busy queue can use all of it. A key has three sets: it lives in the second
 * or the third one only where those before were full.
 *
 * The life of an entry, in its place of `flow_set.places`:
 *
 *   PLACE_FREE -> PLACE_CLAIMED    a program, by compare-and-swap of the whole set: insertions into a set exclude
 *                                  each other, so that a key is never inserted twice
 *   PLACE_CLAIMED -> hash          the same program, once the key is written
 *   hash -> PLACE_OVER             userspace, or a program that sees the connection begin anew
 *   PLACE_OVER -> PLACE_FREE       userspace, after a grace period in which every program run has ended: the
 *                                  counts are final, and nobody holds the entry any more
 */
#ifndef UNIVERSAL_TRACER_XDP_TABLE_H
#define UNIVERSAL_TRACER_XDP_TABLE_H

#include "xdp_flow_maps.h"

#define INSERT_ATTEMPTS 16

static __always_inline struct flow_entry *find_in_set(const struct flow_key *key, __u32 index, __u64 places,
						      __u32 wanted)
{
	__u64 marks = places_with(places, wanted);
	struct flow_entry *entry;

	for (int candidate = 0; candidate < SET_PLACES && marks; candidate++) {
		entry = entry_at(index, lowest_place(marks) & (SET_PLACES - 1));
		if (entry && is_same_key(&entry->key, key))
			return entry;
		marks &= marks - 1;
	}
	return NULL;
}

static __always_inline void fill_entry(struct flow_entry *entry, const struct packet *packet)
{
	entry->key = packet->key;
	entry->inner = packet->inner;
}

/* Finds the entry of the packet's key in a set or puts it there; `is_full` tells a set without room. */
static __noinline struct flow_entry *insert_in_set(const struct packet *packet, __u32 index, __u64 wanted,
							bool *is_full)
{
	struct flow_set *set = bpf_map_lookup_elem(&flow_sets, &index);
	struct flow_entry *entry;
	__u64 places, free;
	__u32 place;

	*is_full = false;
	if (!set)
		return NULL;
	for (int attempt = 0; attempt < INSERT_ATTEMPTS; attempt++) {
		places = *(volatile __u64 *)&set->places;
		entry = find_in_set(&packet->key, index, places, wanted);
		if (entry)
			return entry;
		if (places_with(places, PLACE_CLAIMED))
			continue; /* somebody else inserts here, perhaps the same key: for some nanoseconds */
		free = places_with(places, PLACE_FREE);
		if (!free) {
			*is_full = true;
			return NULL;
		}
		place = lowest_place(free) & (SET_PLACES - 1);
		entry = entry_at(index, place);
		if (!entry)
			return NULL;
		if (__sync_val_compare_and_swap(&set->places, places, places | (__u64)PLACE_CLAIMED << place * 8) !=
		    places)
			continue;
		fill_entry(entry, packet);
		/* a full barrier: the key is there before its place says so */
		__sync_fetch_and_add(&set->places, (wanted - PLACE_CLAIMED) << place * 8);
		return entry;
	}
	return NULL;
}

/* Only for keys that were not found: takes its time. */
static __noinline struct flow_entry *insert_flow(const struct packet *packet, __u64 hash)
{
	struct flow_entry *entry;
	struct flow_set *set;
	bool is_full;
	__u32 index;

	if (!has_room())
		return NULL;
	for (__u32 choice = 0; choice < CHOICES; choice++) {
		index = set_of(hash, choice);
		entry = insert_in_set(packet, index, hash_place(hash), &is_full);
		if (entry || !is_full)
			return entry;
		set = bpf_map_lookup_elem(&flow_sets, &index);
		if (set)
			set->overflowed = 1;
	}
	return NULL;
}

/* The later choices, for the few keys whose first set was full. */
static __noinline struct flow_entry *find_elsewhere(const struct packet *packet, __u64 hash)
{
	struct flow_entry *entry;
	struct flow_set *set;
	__u32 index;

	for (__u32 choice = 1; choice < CHOICES; choice++) {
		index = set_of(hash, choice);
		set = bpf_map_lookup_elem(&flow_sets, &index);
		if (!set)
			return NULL;
		entry = find_in_set(&packet->key, index, *(volatile __u64 *)&set->places, hash_place(hash));
		if (entry || !set->overflowed)
			return entry;
	}
	return NULL;
}

static __always_inline struct flow_entry *find_flow(const struct packet *packet, __u64 hash)
{
	__u32 index = set_of(hash, 0);
	struct flow_set *set = bpf_map_lookup_elem(&flow_sets, &index);
	struct flow_entry *entry;

	if (!set)
		return NULL;
	entry = find_in_set(&packet->key, index, *(volatile __u64 *)&set->places, hash_place(hash));
	if (entry || !set->overflowed)
		return entry;
	return find_elsewhere(packet, hash);
}

/* Ends the entry of a key that begins a new connection: no packet finds it any more, userspace tells and frees it. */
static __noinline bool retire_in_set(const struct flow_key *key, __u32 index, __u64 wanted)
{
	struct flow_set *set = bpf_map_lookup_elem(&flow_sets, &index);
	struct flow_entry *entry;
	__u64 places, marks;
	__u32 place;

	if (!set)
		return false;
	places = *(volatile __u64 *)&set->places;
	marks = places_with(places, wanted);
	for (int candidate = 0; candidate < SET_PLACES && marks; candidate++) {
		place = lowest_place(marks) & (SET_PLACES - 1);
		entry = entry_at(index, place);
		/* where another program was faster at anything in this set, the old entry simply goes on */
		if (entry && is_same_key(&entry->key, key))
			return __sync_val_compare_and_swap(&set->places, places,
							   places - ((wanted - PLACE_OVER) << place * 8)) == places;
		marks &= marks - 1;
	}
	return false;
}

/* The entry for a connection that begins where an old one has ended. */
static __noinline struct flow_entry *renew_flow(const struct packet *packet, __u64 hash)
{
	for (__u32 choice = 0; choice < CHOICES; choice++) {
		if (retire_in_set(&packet->key, set_of(hash, choice), hash_place(hash)))
			return insert_flow(packet, hash);
	}
	return NULL;
}

#endif
