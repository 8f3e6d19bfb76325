/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * How the HTTP tracer reaches sockets. Two objects are made of the same
 * handlers, and this header is all that tells them apart, together with
 * http_storage.h and the programs at the end of http_tracer.bpf.c:
 *
 * - at the socket's hooks (sock_send_length, sock_recv_length; since 6.3,
 *   6e6eda44b939): the kernel hands over the socket, typed pointers are read
 *   directly, loops are bpf_loop (since 5.17, e6f2dd0f8067);
 * - at sys_exit (AT_SYS_EXIT; since 5.8, when rings came, 457f44363a88): the socket
 *   is found by its descriptor, so that its address is a number to the
 *   verifier: every member is copied (bpf_probe_read_kernel), and nothing
 *   can be stored with the socket.
 */
#ifndef UNIVERSAL_TRACER_ADAPTER_H
#define UNIVERSAL_TRACER_ADAPTER_H

#ifdef AT_SYS_EXIT

#define READ(pointer, member) BPF_CORE_READ(pointer, member)
#define AS(type, pointer) ((struct type *)(pointer))
/* Calls step(index, context) until it returns other than 0. */
#define repeat(count, step, context)                   \
	do {                                           \
		for (__u32 i_ = 0; i_ < (count); i_++) \
			if (step(i_, context))         \
				break;                 \
	} while (0)
#define STEP static __always_inline

static __always_inline struct task_struct *present_task(void)
{
	return (struct task_struct *)bpf_get_current_task(); /* bpf_get_current_task_btf: 5.11, 3ca1032ab7ab */
}

#else

#define READ(pointer, member) ((pointer)->member)
#define AS(type, pointer) bpf_core_cast(pointer, struct type) /* 6.2, fd264ca02094 */
#define repeat(count, step, context) bpf_loop(count, step, context, 0)
#define STEP static

static __always_inline struct task_struct *present_task(void)
{
	return bpf_get_current_task_btf();
}

/* The registers at a call's entry still hold its arguments when it ends. */
static __always_inline struct pt_regs *present_registers(struct task_struct *task)
{
	return (struct pt_regs *)bpf_task_pt_regs(task); /* 5.15, dd6e10fbd9fb */
}

#endif

#endif
