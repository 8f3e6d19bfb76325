/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Functions of programs: a breakpoint at the entry; the return by the kernel's own means (uretprobe), or, where that
 * would harm, by breakpoints on the function's return instructions.
 *
 * It harms where somebody else reads the stack: Go copies stacks, and C++ exceptions and Rust panics walk them.
 */
#ifndef UNIVERSAL_TRACER_USER_CALLS_H
#define UNIVERSAL_TRACER_USER_CALLS_H

/* Linux 6.13 (d920179b3d48); with the context as an argument from 7.0 on */
extern __u64 *bpf_session_cookie(void) __ksym __weak;
extern bool bpf_session_is_return(void) __ksym __weak;
extern __u64 *bpf_session_cookie___context(void *ctx) __ksym __weak;
extern bool bpf_session_is_return___context(void *ctx) __ksym __weak;

static __always_inline __u64 *session_cookie(void *ctx)
{
	if (bpf_ksym_exists(bpf_session_cookie___context))
		return bpf_session_cookie___context(ctx);
	return bpf_ksym_exists(bpf_session_cookie) ? bpf_session_cookie() : NULL;
}

static __always_inline bool session_is_return(void *ctx)
{
	if (bpf_ksym_exists(bpf_session_is_return___context))
		return bpf_session_is_return___context(ctx);
	return bpf_ksym_exists(bpf_session_is_return) && bpf_session_is_return();
}

#if defined(__TARGET_ARCH_x86)
#define GOROUTINE(context) ((context)->r14)
#else
#define GOROUTINE(context) (((struct user_pt_regs *)(context))->regs[28])
#endif

static __always_inline __u32 current_pid(void)
{
	return bpf_get_current_pid_tgid() >> 32;
}

/* Whose call it is, and where its frame begins; `popped` bytes above it are taken off already. */
static __always_inline void find_frame(struct pt_regs *ctx, const struct function_spec *spec, __u32 function,
				       __u32 popped, struct open_call *call)
{
	__u64 sp = PT_REGS_SP(ctx) - popped, goroutine = GOROUTINE(ctx), bounds[2];

	call->pid = current_pid();
	call->function = function;
	call->context = (__u32)bpf_get_current_pid_tgid();
	call->frame = sp;
	/* struct g begins with the lower and the upper end of its stack */
	if (!(spec->flags & FUNCTION_GO) || bpf_probe_read_user(bounds, sizeof(bounds), (void *)goroutine))
		return;
	if (sp > bounds[0] && sp <= bounds[1]) {
		call->context = goroutine;
		call->frame = bounds[1] - sp;
	}
}

/* Goroutines are told from threads by their addresses; threads by the sample's tid. */
static __always_inline __u64 told_context(const struct open_call *call)
{
	return call->context >> 32 ? call->context : 0;
}

static __always_inline void enter_frame(struct pt_regs *ctx, enum caller caller)
{
	__u32 function = bpf_get_attach_cookie(ctx);
	struct function_spec *spec = bpf_map_lookup_elem(&functions, &function);
	struct open_call call;
	__u64 now;

	if (!spec)
		return;
	find_frame(ctx, spec, function, 0, &call);
	count_entry(function, call.pid);
	tell_entry(ctx, spec, function, told_context(&call), caller);
	if (spec->flags & FUNCTION_NO_RETURN)
		return;
	now = bpf_ktime_get_ns();
	if (bpf_map_update_elem(&open_calls, &call, &now, BPF_ANY))
		count_call_loss(LOSS_OPEN_CALLS);
}

/* Of a cookie: the function jumps to another one there, whose result will be its own. */
#define ENDS_IN_ANOTHER (1ULL << 32)

static __always_inline void leave_frame(struct pt_regs *ctx, __u32 popped)
{
	__u64 now = bpf_ktime_get_ns(), *entered, entered_ns;
	__u64 cookie = bpf_get_attach_cookie(ctx);
	__u32 function = cookie;
	struct function_spec *spec = bpf_map_lookup_elem(&functions, &function);
	struct open_call call;

	if (!spec)
		return;
	find_frame(ctx, spec, function, popped, &call);
	entered = bpf_map_lookup_elem(&open_calls, &call);
	if (!entered)
		return; /* it entered before the tracer came, or there was no room for it */
	entered_ns = *entered;
	bpf_map_delete_elem(&open_calls, &call);
	count_exit(function, call.pid, now - entered_ns);
	tell_exit(function, told_context(&call), entered_ns, PT_REGS_RC(ctx), !(cookie & ENDS_IN_ANOTHER));
}

static __always_inline void check_returns(void)
{
	/* typed: uprobe.session is newer than such pointers, and reads through them cost nothing */
	struct task_struct *task = bpf_get_current_task_btf();

	if (task->utask->depth >= MAX_RETURNS)
		count_call_loss(LOSS_RETURNS);
}

/* What the kernel keeps beside the return address. Who has returned was a target when it entered. */
static __always_inline int end_session(struct pt_regs *ctx)
{
	__u64 now = bpf_ktime_get_ns(), *entered = session_cookie(ctx);
	__u32 function = bpf_get_attach_cookie(ctx);

	if (!entered)
		return 0;
	count_exit(function, current_pid(), now - *entered);
	tell_exit(function, 0, *entered, PT_REGS_RC(ctx), true);
	return 0;
}

/* One program for both ends. */
SEC("uprobe.session")
int handle_call_session(struct pt_regs *ctx)
{
	__u32 function, pid = current_pid();
	struct function_spec *spec;
	__u64 *entered;

	if (session_is_return(ctx))
		return end_session(ctx);
	if (!is_target(pid))
		return 1; /* no return either */
	function = bpf_get_attach_cookie(ctx);
	spec = bpf_map_lookup_elem(&functions, &function);
	entered = session_cookie(ctx);
	if (!entered || !spec)
		return 1;
	check_returns();
	count_entry(function, pid);
	tell_entry(ctx, spec, function, 0, CALLER_PROGRAM);
	*entered = bpf_ktime_get_ns();
	return 0;
}

SEC("uprobe")
int handle_call_entry(struct pt_regs *ctx)
{
	if (is_target(current_pid()))
		enter_frame(ctx, CALLER_PROGRAM);
	return 0;
}

/* On a return instruction: the stack pointer is where it was at the entry. */
SEC("uprobe")
int handle_call_exit(struct pt_regs *ctx)
{
	if (is_target(current_pid()))
		leave_frame(ctx, 0);
	return 0;
}

#if defined(__TARGET_ARCH_x86)
#define POPPED_BY_RETURN 8
#else
#define POPPED_BY_RETURN 0
#endif

/* Behind the return, before Linux 6.13. */
SEC("uretprobe")
int handle_call_return(struct pt_regs *ctx)
{
	if (is_target(current_pid()))
		leave_frame(ctx, POPPED_BY_RETURN);
	return 0;
}

#endif
