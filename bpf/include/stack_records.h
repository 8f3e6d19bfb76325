/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * The records that cross the ring from stack_tracer.bpf.c to native/core: a sample, and its frames behind it.
 *
 * Fixed-width members, no hidden padding: native/core/src/stack/record.rs mirrors the struct, and compares every
 * member's offset with the BTF of the object it loads.
 */
#ifndef UNIVERSAL_TRACER_STACK_RECORDS_H
#define UNIVERSAL_TRACER_STACK_RECORDS_H

#define COMM_LENGTH 16
#define MAX_KERNEL_FRAMES 127 /* the kernel's own limit, kernel.perf_event_max_stack */
#define MAX_USER_FRAMES 1024
#define MAX_FRAMES (MAX_KERNEL_FRAMES + MAX_USER_FRAMES)

enum sample_kind {
	SAMPLE_CPU = 0,	    /* the thread was running */
	SAMPLE_OFF_CPU = 1, /* the thread was waiting; `weight_ns` is for how long */
	SAMPLE_CALL = 2,    /* the thread called a traced function; a part of its record (call_records.h) */
	SAMPLE_REST = 3,    /* no sample, but what the next one's walk lacked (stack_rest.h) */
};

enum sample_flag {
	SAMPLE_NEW_PROCESS = 1 << 0, /* userspace had not read this program's mappings yet */
	SAMPLE_RUN_QUEUE = 1 << 1,   /* off-CPU: it could have run, but had to wait for a CPU */
	SAMPLE_HAS_REST = 1 << 2,    /* a record with the same thread and time came before it */
};

/* How the user part of a stack ended; reasons in words: native/core/src/stack/record.rs. */
enum stack_end {
	END_COMPLETE = 0,	/* at the thread's first function */
	END_NO_USER = 1,	/* a kernel thread, or user stacks were not asked for */
	END_DEPTH = 2,		/* more frames than `max_stack_depth` */
	END_FRAME_POINTERS = 3, /* where the chain of frame pointers ended; maybe the first function, maybe not */
	END_NO_MAPPING = 4,	/* at an address that belongs to no mapped program */
	END_NO_TABLE = 5,	/* in an object whose unwind table was not ready or does not exist */
	END_NO_ROW = 6,		/* at an address that the object's unwind table does not cover */
	END_UNREADABLE = 7,	/* the stack's memory could not be read */
	END_RULE = 8,		/* at a row whose rule cannot be followed here */
	END_INNERMOST = 9,	/* at the innermost function: more is not known of a thread that waits for a CPU */
	END_GOES_ON = 10,	/* never in a record */
};

/* 64 bytes; then kernel frames and user frames, 8 bytes each, innermost first. */
struct sample {
	__u64 time_ns;	 /* CLOCK_MONOTONIC */
	__u64 weight_ns; /* off-CPU: time waited; on-CPU: 0, one sampling period */
	__u32 pid;	 /* thread group */
	__u32 tid;
	__u32 waker;	 /* off-CPU: the thread that ended the wait; 0 = unknown */
	__u16 kernel_frames;
	__u16 user_frames;
	__u8 kind;	 /* enum sample_kind */
	__u8 flags;	 /* enum sample_flag */
	__u8 end;	 /* enum stack_end */
	__u8 reserved[5];
	__u64 end_pc;	 /* where the user part could not go on; 0 = it did */
	char comm[COMM_LENGTH];
};

#endif
