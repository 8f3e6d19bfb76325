/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Maps that all tracers share: whom to trace, and what could not be recorded.
 * The session creates them once and lets every object reuse them by name.
 */
#ifndef UNIVERSAL_TRACER_SHARED_MAPS_H
#define UNIVERSAL_TRACER_SHARED_MAPS_H

#define MAX_TARGETS 32768
#define MAX_TARGET_CGROUPS 1024
#define MAX_TARGET_NAMES 256
#define NAME_LENGTH 64

/* Thread groups to trace; followed through fork, exec and exit by targets.h. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_TARGETS);
	__type(key, __u32);
	__type(value, __u8);
} targets SEC(".maps");

/* Counts removals from `targets`, so that programs may remember what they found there. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} target_removals SEC(".maps");

/* A cgroup's kernfs id tells it from the others of its hierarchy only. */
struct target_cgroup {
	__u32 hierarchy; /* 0 is version 2 */
	__u32 reserved;
	__u64 id;
};

/* Cgroups whose present and future processes are targets. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_TARGET_CGROUPS);
	__type(key, struct target_cgroup);
	__type(value, __u8);
} target_cgroups SEC(".maps");

/* Names (comm, or base name of the executable) whose future processes are targets. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_TARGET_NAMES);
	__type(key, char[NAME_LENGTH]);
	__type(value, __u8);
} target_names SEC(".maps");

/* Places where something can be lost; names in native/core/src/losses.rs. */
enum loss_place {
	LOSS_RING_FULL = 0,  /* requests that found the ring full */
	LOSS_TARGETS = 1,    /* processes that found no room in `targets` */
	LOSS_STORAGE = 2,    /* connections that got no memory */
	LOSS_READ_FAULT = 3, /* operations whose user memory could not be read */
	LOSS_RECORDS = 4,    /* records that begin no request and found the ring full */
	LOSS_CALLS = 5,	     /* entries and exits of functions that found no room in their ring */
	LOSS_OPEN_CALLS = 6, /* calls whose exit is not told: too many were open at a time */
	LOSS_RETURNS = 7,    /* calls whose exit is not told: the kernel follows 64 returns of a thread */
	LOSS_CALL_COUNTS = 8, /* entries and exits that were not counted: too many functions times processes */
	LOSS_PLACES = 16,
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LOSS_PLACES);
	__type(key, __u32);
	__type(value, __u64);
} losses SEC(".maps");

/* What the hooks saw, to explain silence; names in native/core/src/losses.rs. */
enum hit_place {
	HIT_OPERATIONS = 0, /* socket operations of targets */
	HIT_CONNECTIONS = 1, /* connections of targets */
	HIT_NOT_HTTP = 2,   /* connections that turned out to speak something else */
	HIT_REQUESTS = 3,   /* request heads recognised */
	HIT_SAMPLED_OUT = 4, /* requests left out by sampling */
	HIT_ELSEWHERE = 5,  /* socket operations of targets on other interfaces than the chosen ones */
	HIT_PLACES = 8,
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, HIT_PLACES);
	__type(key, __u32);
	__type(value, __u64);
} hits SEC(".maps");

static __always_inline void count_in(void *map, __u32 place, __u64 more)
{
	__u64 *count = bpf_map_lookup_elem(map, &place);

	if (count)
		*count += more;
}

static __always_inline void count_losses(enum loss_place place, __u64 more)
{
	count_in(&losses, place, more);
}

static __always_inline void count_loss(enum loss_place place)
{
	count_losses(place, 1);
}

static __always_inline void count_hit(enum hit_place place)
{
	count_in(&hits, place, 1);
}

#endif
