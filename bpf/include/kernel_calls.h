/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Tracepoints: what the kernel says of a target's thread. Some are hit under the run queue's lock, where nothing may be
 * inserted anywhere: they are counted in an array.
 *
 * Functions of the kernel, by kprobes: entries and exits, paired by their frames.
 */
#ifndef UNIVERSAL_TRACER_KERNEL_CALLS_H
#define UNIVERSAL_TRACER_KERNEL_CALLS_H

/* By function's number. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1); /* set at load */
	__type(key, __u32);
	__type(value, __u64);
} event_counts SEC(".maps");

/* A thread outside of programs has no targets' pid, but 0 on the idle CPU. */
SEC("tracepoint")
int handle_tracepoint(void *ctx)
{
	__u32 pid = current_pid(), function;
	struct function_spec *spec;
	__u64 *count;

	if (!pid || !is_target(pid))
		return 0;
	function = bpf_get_attach_cookie(ctx);
	spec = bpf_map_lookup_elem(&functions, &function);
	count = bpf_map_lookup_elem(&event_counts, &function);
	if (!spec || !count)
		return 0;
	add_atomically(count, 1);
	tell_entry(ctx, spec, function, 0, CALLER_TRACEPOINT);
	return 0;
}

static __always_inline bool is_traced_thread(void)
{
	__u32 pid = current_pid();

	return pid && is_target(pid);
}

SEC("kprobe")
int handle_kernel_entry(struct pt_regs *ctx)
{
	if (is_traced_thread())
		enter_frame(ctx, CALLER_KERNEL);
	return 0;
}

SEC("kretprobe")
int handle_kernel_return(struct pt_regs *ctx)
{
	if (is_traced_thread())
		leave_frame(ctx, POPPED_BY_RETURN);
	return 0;
}

#endif
