/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * What userspace tells of programs, so that their stacks can be walked: see native/core/src/unwind.
 *
 * A process's executable mappings lead to objects, an object's rows to rules: how to find the caller's registers.
 * Userspace writes all of it and replaces whole inner maps, so that a walk sees the old or the new, never a mixture.
 */
#ifndef UNIVERSAL_TRACER_UNWIND_TABLES_H
#define UNIVERSAL_TRACER_UNWIND_TABLES_H

#define MAX_UNWIND_OBJECTS 8192
#define MAX_UNWIND_RULES 65536
#define ROWS_PER_CHUNK 512

/* Rows whose rule is a command and no index. */
enum unwind_command {
	COMMAND_NONE = 0xffffffff,   /* no function is known here */
	COMMAND_STOP = 0xfffffffe,   /* a thread's first function */
	COMMAND_SIGNAL = 0xfffffffd, /* returns from a signal handler */
	COMMAND_UNKNOWN = 0xfffffffc, /* a rule that is not understood */
};

enum cfa_kind {
	CFA_SP = 0,	  /* sp + offset */
	CFA_FP = 1,	  /* fp + offset */
	CFA_SP_DEREF = 2, /* *(sp + offset) + post */
	CFA_FP_DEREF = 3, /* *(fp + offset) + post */
	CFA_PLT = 4,	  /* sp + 8, and 8 more from the instruction at `post` of 16 bytes on */
	CFA_REGISTER = 5, /* a register that only the innermost function's frame has; `post` is its number */
};

enum fp_kind {
	FP_SAME = 0,
	FP_AT_CFA = 1, /* saved at cfa + offset */
	FP_AT_FP = 2,  /* saved at fp + offset */
};

enum ra_kind {
	RA_AT_CFA = 0, /* saved at cfa + offset */
	RA_IN_LR = 1,  /* arm64: still in its register */
};

/* The mirror of native/core/src/unwind/rules.rs: 20 bytes. */
struct unwind_rule {
	__u8 cfa;  /* enum cfa_kind */
	__u8 fp;   /* enum fp_kind */
	__u8 ra;   /* enum ra_kind */
	__u8 reserved;
	__s32 cfa_offset;
	__s32 fp_offset;
	__s32 ra_offset;
	__s32 post;
};

struct unwind_row {
	__u32 pc; /* from the object's base */
	__u32 rule; /* index or enum unwind_command */
};

struct unwind_chunk {
	struct unwind_row rows[ROWS_PER_CHUNK];
};

struct unwind_table {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_INNER_MAP);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct unwind_chunk));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, MAX_UNWIND_OBJECTS);
	__type(key, __u32);
	__array(values, struct unwind_table);
} unwind_tables SEC(".maps");

enum object_state {
	OBJECT_WAITING = 0,	   /* its table is being compiled, or was given up for others */
	OBJECT_TABLE = 1,
	OBJECT_FRAME_POINTERS = 2, /* it has no table */
};

struct unwind_object {
	__u32 state; /* enum object_state */
	__u32 chunks;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_UNWIND_OBJECTS);
	__type(key, __u32);
	__type(value, struct unwind_object);
} unwind_objects SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_UNWIND_RULES);
	__type(key, __u32);
	__type(value, struct unwind_rule);
} unwind_rules SEC(".maps");

/* The first of a process's mappings is none: its `start` is how many follow, sorted. */
struct unwind_mappings {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_INNER_MAP);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct unwind_mapping));
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, MAX_KNOWN_PROCESSES);
	__type(key, __u32);
	__array(values, struct unwind_mappings);
} process_mappings SEC(".maps");

#endif
