/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* How often functions are called, and how long their calls take. The programs may be preempted: all of it is atomic. */
#ifndef UNIVERSAL_TRACER_CALL_COUNTS_H
#define UNIVERSAL_TRACER_CALL_COUNTS_H

#define MAX_RETRIES 4

static __always_inline void add_atomically(__u64 *sum, __u64 more)
{
	__sync_fetch_and_add(sum, more);
}

static __always_inline void count_call_loss(__u32 place)
{
	__u64 *count = bpf_map_lookup_elem(&losses, &place);

	if (count)
		add_atomically(count, 1);
}

static __always_inline __u32 log2_of(__u64 value)
{
	__u32 log = 0;

	if (value >> 32) { log += 32; value >>= 32; }
	if (value >> 16) { log += 16; value >>= 16; }
	if (value >> 8) { log += 8; value >>= 8; }
	if (value >> 4) { log += 4; value >>= 4; }
	if (value >> 2) { log += 2; value >>= 2; }
	return log + (value >> 1);
}

static __always_inline __u32 latency_bucket(__u64 ns)
{
	__u32 log = log2_of(ns), bucket = ns;

	if (log >= LATENCY_STEPS)
		bucket = ((log - LATENCY_STEPS + 1) << LATENCY_STEPS) |
			 ((ns >> (log - LATENCY_STEPS)) & ((1 << LATENCY_STEPS) - 1));
	return bucket < LATENCY_BUCKETS ? bucket : LATENCY_BUCKETS - 1;
}

static __always_inline struct call_counts *find_counts(__u32 function, __u32 pid)
{
	struct counted_calls key = {function, pid};
	struct call_counts *counts = bpf_map_lookup_elem(&call_counts, &key);
	__u32 first = 0;
	void *empty;

	if (counts)
		return counts;
	empty = bpf_map_lookup_elem(&no_calls, &first);
	if (empty)
		bpf_map_update_elem(&call_counts, &key, empty, BPF_NOEXIST);
	counts = bpf_map_lookup_elem(&call_counts, &key);
	if (counts)
		bpf_get_current_comm(counts->comm, sizeof(counts->comm));
	else
		count_call_loss(LOSS_CALL_COUNTS);
	return counts;
}

static __always_inline void count_entry(__u32 function, __u32 pid)
{
	struct call_counts *counts = find_counts(function, pid);

	if (counts)
		add_atomically(&counts->entries, 1);
}

static __always_inline void count_exit(__u32 function, __u32 pid, __u64 duration_ns)
{
	struct call_counts *counts = find_counts(function, pid);
	__u64 longest, seen;

	if (!counts)
		return;
	add_atomically(&counts->exits, 1);
	add_atomically(&counts->total_ns, duration_ns);
	add_atomically(&counts->buckets[latency_bucket(duration_ns)], 1);
	longest = counts->max_ns;
	for (int turn = 0; turn < MAX_RETRIES && duration_ns > longest; turn++) {
		seen = __sync_val_compare_and_swap(&counts->max_ns, longest, duration_ns);
		if (seen == longest)
			break;
		longest = seen;
	}
}

#endif
