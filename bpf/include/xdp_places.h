/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Where in the flow table a key may be: its hash, its sets, and eight places compared at once.
 */
#ifndef UNIVERSAL_TRACER_XDP_PLACES_H
#define UNIVERSAL_TRACER_XDP_PLACES_H

#define SET_PLACES 8
#define CHOICES 3
#define PLACE_FREE 0
#define PLACE_CLAIMED 1
#define PLACE_OVER 2
#define FIRST_HASH 3
#define EACH_PLACE 0x0101010101010101ULL
#define TOP_BITS 0x8080808080808080ULL

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

static __always_inline __u32 hash_place(__u64 hash)
{
	return FIRST_HASH + (((hash & 0xff) * (256 - FIRST_HASH)) >> 8);
}

/* The set of a key's first, second or third choice: 0, 1, 2. */
static __always_inline __u32 set_of(__u64 hash, __u32 choice)
{
	__u64 mixed = choice == 0 ? hash : hash * (choice == 1 ? 0x9e3779b97f4a7c15ULL : 0xd6e8feb86659fd93ULL);

	return ((mixed >> 32) * settings.sets) >> 32;
}

#endif
