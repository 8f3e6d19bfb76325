/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* What the stack tracer keeps in the kernel: the sample in the making, and the processes that userspace knows. */
#ifndef UNIVERSAL_TRACER_STACK_STATE_H
#define UNIVERSAL_TRACER_STACK_STATE_H

#define MAX_KNOWN_PROCESSES 16384

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 22); /* set at load */
} samples SEC(".maps");

/*
 * A sample does not fit on the stack of a program. One per program that may interrupt the other; several for calls,
 * whose programs may be preempted by themselves.
 */
enum stack_scratch_use {
	SCRATCH_SAMPLE = 0,
	SCRATCH_SWITCH = 1,
	SCRATCH_CALL_END = 2,
	SCRATCH_CALLS = 3,
	STACK_SCRATCH_USES = 7,
};

/* An executable range of a process, and the object behind it. */
struct unwind_mapping {
	__u64 start;
	__u64 end;
	__u64 bias; /* pc - bias counts from the object's base */
	__u32 object;
	__u32 reserved;
};

/* Where a walk has come to. */
struct user_registers {
	__u64 pc;
	__u64 sp;
	__u64 fp;
	__u64 lr; /* arm64 */
	struct unwind_mapping mapping; /* of the pc before: most callers are in the same object */
	__u64 replacement; /* of return addresses that the kernel has replaced; 0 = there are none */
	struct return_instance *returns; /* the true ones */
	bool is_call; /* the pc is where a call returns to */
	bool is_leaf; /* all registers are still the function's own */
};

struct stack_scratch {
	__u64 is_busy; /* of calls */
	/* what is told lies together, from one of these on */
	struct call_texts texts;
	struct call call;
	struct sample sample;
	__u64 frames[MAX_FRAMES + 1];
	struct user_registers registers;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, STACK_SCRATCH_USES);
	__type(key, __u32);
	__type(value, struct stack_scratch);
} stack_scratches SEC(".maps");

static __always_inline struct stack_scratch *get_stack_scratch(__u32 use)
{
	return bpf_map_lookup_elem(&stack_scratches, &use);
}

/* Thread groups whose mappings userspace has read; written by userspace, forgotten at exec and exit. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_KNOWN_PROCESSES);
	__type(key, __u32);
	__type(value, __u8);
} known_processes SEC(".maps");

static __always_inline bool is_known_process(__u32 pid)
{
	return bpf_map_lookup_elem(&known_processes, &pid);
}

static __always_inline void forget_process(__u32 pid)
{
	bpf_map_delete_elem(&known_processes, &pid);
}

#endif
