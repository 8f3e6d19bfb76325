/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* What the kernel knows of traced functions: how to read their arguments, calls that are open, and their counts. */
#ifndef UNIVERSAL_TRACER_CALL_STATE_H
#define UNIVERSAL_TRACER_CALL_STATE_H

#define MAX_OPEN_CALLS 65536
#define MAX_COUNTED_CALLS 16384 /* functions times processes */

/* Buckets of a latency: one a nanosecond below 8, then eight for each doubling. */
#define LATENCY_STEPS 3
#define LATENCY_OCTAVES 36
#define LATENCY_BUCKETS (LATENCY_OCTAVES << LATENCY_STEPS)

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096); /* set at load */
} calls SEC(".maps");

enum value_place {
	PLACE_UNREADABLE = 0,
	PLACE_REGISTER = 1, /* the register at `base` of the context */
	PLACE_STACK = 2,    /* in memory, at the stack pointer + `offset` */
	PLACE_MEMORY = 3,   /* in memory, at the register at `base` + `offset` */
	PLACE_INDEXED = 4,  /* in memory, at the register at `base` + (that at `index` << `shift`) + `offset` */
	PLACE_RELATIVE = 5, /* in memory, at the probed instruction + `constant` */
	PLACE_CONSTANT = 6,
	PLACE_FIELD = 7,    /* of a tracepoint's record: at `base`, `bytes` long */
};

enum text_kind {
	TEXT_NONE = 0,
	TEXT_ENDED = 1,	     /* the value points to it, a zero byte ends it */
	TEXT_COUNTED = 2,    /* the value points to it, `length` says how long it is */
	TEXT_CHARACTERS = 3, /* in a tracepoint's record, at `base`, at most `bytes` long */
	TEXT_DYNAMIC = 4,    /* where the value says in a tracepoint's record: the lower half is its place */
	TEXT_IN_KERNEL = 5,  /* as TEXT_ENDED, in the kernel's memory */
};

/* The mirrors of native/core/src/calls/tables.rs. */
struct value_spec {
	__u8 place; /* enum value_place */
	__u8 shift;
	__u16 base;
	__u16 index;
	__u16 bytes;
	__s32 offset;
	__u32 reserved;
	__s64 constant;
};

struct argument_spec {
	struct value_spec value;
	struct value_spec length;
	__u8 text;  /* which of a call's texts */
	__u8 kind; /* enum text_kind */
	__u8 reserved[6];
};

enum function_flag {
	FUNCTION_GO = 1 << 0,	    /* a goroutine calls it, which may move to another thread and to a larger stack */
	FUNCTION_NO_RETURN = 1 << 1, /* nothing tells when it returns */
};

struct function_spec {
	__u32 flags; /* enum function_flag */
	__u32 arguments;
	struct argument_spec argument[MAX_ARGUMENTS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* set at load */
	__type(key, __u32);
	__type(value, struct function_spec);
} functions SEC(".maps");

/* A call whose return is recognised by its frame: whoever returns from there has entered there. */
struct open_call {
	__u64 context; /* thread, or goroutine */
	__u64 frame;   /* where the return address is; Go: from the stack's upper end, which a larger stack keeps */
	__u32 pid;
	__u32 function;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* set at load */
	__type(key, struct open_call);
	__type(value, __u64); /* CLOCK_MONOTONIC when the entry was done with */
} open_calls SEC(".maps");

struct counted_calls {
	__u32 function;
	__u32 pid;
};

struct call_counts {
	__u64 entries;
	__u64 exits;
	__u64 total_ns;
	__u64 max_ns;
	char comm[COMM_LENGTH]; /* of the thread that called first, on the CPU where it did */
	__u64 buckets[LATENCY_BUCKETS];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_COUNTED_CALLS);
	__type(key, struct counted_calls);
	__type(value, struct call_counts);
} call_counts SEC(".maps");

/* What a new entry of `call_counts` begins with: too large for a program's stack. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct call_counts);
} no_calls SEC(".maps");

#endif
