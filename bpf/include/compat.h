/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Differences between architectures and kernels, in one place.
 *
 * System call numbers are the architecture's own; argument registers are read
 * from the saved user registers, so no hook at the call's entry is needed.
 */
#ifndef UNIVERSAL_TRACER_COMPAT_H
#define UNIVERSAL_TRACER_COMPAT_H

#if defined(__TARGET_ARCH_x86)
enum syscall_number {
	NR_READ = 0, NR_WRITE = 1, NR_READV = 19, NR_WRITEV = 20,
	NR_SENDTO = 44, NR_RECVFROM = 45, NR_SENDMSG = 46, NR_RECVMSG = 47,
	NR_RECVMMSG = 299, NR_SENDMMSG = 307, NR_SENDFILE = 40, NR_SPLICE = 275,
};
#define SYSCALL_NUMBER(regs) ((__s64)(regs)->orig_ax)
#define SYSCALL_ARGUMENT_1(regs) ((regs)->di)
#define SYSCALL_ARGUMENT_2(regs) ((regs)->si)
#define SYSCALL_ARGUMENT_3(regs) ((regs)->dx)
#define SYSCALL_ARGUMENT_4(regs) ((regs)->r10)
/* thread_info.status: a 32-bit call has other numbers, we do not read its arguments */
#define TS_COMPAT 0x0002
#define IS_COMPAT_CALL(task) (READ(task, thread_info.status) & TS_COMPAT)
#elif defined(__TARGET_ARCH_arm64)
enum syscall_number {
	NR_READ = 63, NR_WRITE = 64, NR_READV = 65, NR_WRITEV = 66,
	NR_SENDTO = 206, NR_RECVFROM = 207, NR_SENDMSG = 211, NR_RECVMSG = 212,
	NR_RECVMMSG = 243, NR_SENDMMSG = 269, NR_SENDFILE = 71, NR_SPLICE = 76,
};
#define SYSCALL_NUMBER(regs) ((__s64)(regs)->syscallno)
#define SYSCALL_ARGUMENT_1(regs) ((regs)->orig_x0)
#define SYSCALL_ARGUMENT_2(regs) ((regs)->regs[1])
#define SYSCALL_ARGUMENT_3(regs) ((regs)->regs[2])
#define SYSCALL_ARGUMENT_4(regs) ((regs)->regs[3])
#define TIF_32BIT 22
#define IS_COMPAT_CALL(task) (READ(task, thread_info.flags) & (1UL << TIF_32BIT))
#else
#error "unsupported architecture"
#endif

#define PF_IO_WORKER 0x00000010
#define PF_EXITING 0x00000004
#define PF_KTHREAD 0x00200000

#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define SOCK_STREAM 1
#define IPPROTO_TCP 6
#define MSG_PEEK 2
#define RCV_SHUTDOWN 1
#define SOCK_DEAD_BIT 1 /* of sock_common.skc_flags */
#define ECONNRESET 104

enum tcp_state {
	STATE_ESTABLISHED = 1, STATE_SYN_SENT = 2, STATE_SYN_RECV = 3, STATE_FIN_WAIT1 = 4,
	STATE_FIN_WAIT2 = 5, STATE_TIME_WAIT = 6, STATE_CLOSE = 7, STATE_CLOSE_WAIT = 8,
	STATE_LAST_ACK = 9, STATE_LISTEN = 10,
};

#endif
