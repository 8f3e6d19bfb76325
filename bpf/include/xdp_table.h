/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * The flow table: sets of eight entries in two memory-mapped arrays, shared by all CPUs.
 *
 * A stock hash map costs 170 to 450 ns a packet at 65,536 flows; here it is one load of the set's eight places, a
 * comparison of all eight at once, and the entry's own cache lines. Counters are atomics, so the table's size does
 * not depend on the number of CPUs and one busy queue can use all of it. A key has two sets: it lives in the second
 * one only where the first was full.
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

#define SET_PLACES 8
#define PLACE_FREE 0
#define PLACE_CLAIMED 1
#define PLACE_OVER 2
#define FIRST_HASH 3
#define EACH_PLACE 0x0101010101010101ULL
#define TOP_BITS 0x8080808080808080ULL
#define INSERT_ATTEMPTS 16

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

static __always_inline __u64 key_hash(const struct flow_key *key)
{
	const __u64 *words = (const __u64 *)key;
	__u64 hash = settings.hash_seed;

	/* the parts that tell IPv4 flows apart; the rest is 0 there */
	hash = mix(hash, words[0]);
	hash = mix(hash, words[2]);
	hash = mix(hash, words[4]);
	hash = mix(hash, words[5] ^ words[6]);
	if (key->family == 6) {
		hash = mix(hash, words[1]);
		hash = mix(hash, words[3]);
	}
	return hash ^ hash >> 29;
}

static __always_inline bool is_same_key(const struct flow_key *a, const struct flow_key *b)
{
	const __u64 *left = (const __u64 *)a, *right = (const __u64 *)b;
	__u64 difference = 0;

#pragma unroll
	for (__u32 word = 0; word < sizeof(*a) / 8; word++)
		difference |= left[word] ^ right[word];
	return !difference;
}

/* The top bit of each place that is `value`; places above the lowest match may be reported wrongly. */
static __always_inline __u64 places_with(__u64 places, __u64 value)
{
	__u64 difference = places ^ (value * EACH_PLACE);

	return (difference - EACH_PLACE) & ~difference & TOP_BITS;
}

/* The number of the lowest place that is marked by its top bit. */
static __always_inline __u32 lowest_place(__u64 marks)
{
	/* the lowest bit, moved to the bottom of its byte, shifts the wanted number to the top */
	return (((marks & -marks) >> 7) * 0x0001020304050607ULL) >> 56;
}

static __always_inline struct flow_entry *entry_at(__u32 set, __u32 place)
{
	__u32 index = set * SET_PLACES + place;

	return bpf_map_lookup_elem(&flows, &index);
}

static __always_inline __u32 hash_place(__u64 hash)
{
	return FIRST_HASH + (((hash & 0xff) * (256 - FIRST_HASH)) >> 8);
}

static __always_inline __u32 first_set(__u64 hash)
{
	return ((hash >> 32) * settings.sets) >> 32;
}

static __always_inline __u32 second_set(__u64 hash)
{
	return (((hash * 0x9e3779b97f4a7c15ULL) >> 32) * settings.sets) >> 32;
}

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

static __always_inline void fill_entry(struct flow_entry *entry, const struct packet *packet)
{
	entry->key = packet->key;
	entry->inner = packet->inner;
}

/* Finds the entry of the packet's key in a set or puts it there; `is_full` tells a set without room. */
static __always_inline struct flow_entry *insert_in_set(const struct packet *packet, __u32 index, __u64 wanted,
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
	__u32 first = first_set(hash), second = second_set(hash);
	struct flow_entry *entry;
	struct flow_set *set;
	bool is_full;

	if (!has_room())
		return NULL;
	entry = insert_in_set(packet, first, hash_place(hash), &is_full);
	if (entry || !is_full)
		return entry;
	set = bpf_map_lookup_elem(&flow_sets, &first);
	if (set)
		set->overflowed = 1;
	return insert_in_set(packet, second, hash_place(hash), &is_full);
}

static __always_inline struct flow_entry *find_flow(const struct packet *packet, __u64 hash)
{
	__u32 index = first_set(hash);
	struct flow_set *set = bpf_map_lookup_elem(&flow_sets, &index);
	struct flow_entry *entry;

	if (!set)
		return NULL;
	entry = find_in_set(&packet->key, index, *(volatile __u64 *)&set->places, hash_place(hash));
	if (entry || !set->overflowed)
		return entry;
	index = second_set(hash);
	set = bpf_map_lookup_elem(&flow_sets, &index);
	if (!set)
		return NULL;
	return find_in_set(&packet->key, index, *(volatile __u64 *)&set->places, hash_place(hash));
}

/* Ends the entry of a key that begins a new connection: no packet finds it any more, userspace tells and frees it. */
static __always_inline bool retire_in_set(const struct flow_key *key, __u32 index, __u64 wanted)
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
	__u32 wanted = hash_place(hash);

	if (retire_in_set(&packet->key, first_set(hash), wanted) ||
	    retire_in_set(&packet->key, second_set(hash), wanted))
		return insert_flow(packet, hash);
	return NULL;
}

#endif
