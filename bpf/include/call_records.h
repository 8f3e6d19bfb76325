/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * The records of traced functions: [texts] call, sample, frames. The sample and its frames are those of stack_records.h.
 *
 * Fixed-width members, no hidden padding: native/core/src/calls/record.rs mirrors the structs.
 */
#ifndef UNIVERSAL_TRACER_CALL_RECORDS_H
#define UNIVERSAL_TRACER_CALL_RECORDS_H

#define MAX_ARGUMENTS 8
#define MAX_TEXTS 4
#define TEXT_BYTES 128

enum call_part { PART_CALL = 0, PART_TEXTS = 1 };
enum call_event { CALL_ENTRY = 0, CALL_EXIT = 1 };

/* In front of a call that has texts: what strings its arguments point to. */
struct call_texts {
	__u32 part;	/* PART_TEXTS */
	__u32 reserved;
	char text[MAX_TEXTS][TEXT_BYTES]; /* each ends with 0; cut where it is longer */
};

struct call {
	__u32 part;	/* PART_CALL */
	__u32 function; /* its number */
	__u64 entered_ns; /* exit: CLOCK_MONOTONIC when the entry was done with, of the call that ends */
	__u64 context;	/* Go: the goroutine; else 0 */
	__u64 result;	/* exit */
	__u16 known;	/* entry: arguments that could be read, a bit each; bit MAX_ARGUMENTS + n: text n. exit: bit 0, `result` */
	__u8 event;	/* enum call_event */
	__u8 reserved[5];
	__u64 arguments[MAX_ARGUMENTS];
};

#endif
