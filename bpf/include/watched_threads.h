/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Threads whose waits are measured, and what each has waited; new ones are put in here, by userspace, fork and exec. */
#ifndef UNIVERSAL_TRACER_WATCHED_THREADS_H
#define UNIVERSAL_TRACER_WATCHED_THREADS_H

#define MAX_WATCHED_THREADS 16384
#define MAX_WAIT_FRAMES 32
#define EEXIST 17

struct watched_thread {
	__u64 out_ns;	   /* when it left the CPU; 0 = it runs */
	__u64 woken_ns;	   /* when it was woken; 0 = not yet, or it could have run all the time */
	__u64 blocked_ns;  /* waited and not told yet */
	__u64 queued_ns;   /* ready to run and not told yet */
	__u64 blocked_told; /* to tell when the call returns */
	__u64 queued_told;
	__u32 waker;
	__u8 could_run;
	__u8 reserved[3];
	__u64 kernel_bytes; /* of `frames` */
	__u64 frames[MAX_WAIT_FRAMES];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_WATCHED_THREADS);
	__type(key, __u32);
	__type(value, struct watched_thread);
} watched_threads SEC(".maps");

/* A map value is too large for a program's stack. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct watched_thread);
} new_thread SEC(".maps");

static __always_inline void watch_thread(__u32 tid)
{
	__u32 first = 0;
	struct watched_thread *empty = bpf_map_lookup_elem(&new_thread, &first);
	long error = 0;

	if (settings.off_cpu && empty)
		error = bpf_map_update_elem(&watched_threads, &tid, empty, BPF_NOEXIST);
	if (error && error != -EEXIST) /* one that is watched keeps its sums */
		count_loss(LOSS_TARGETS);
}

#endif
