/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* The registers that a walk follows, by architecture: pc, sp and the frame pointer (and lr on arm64). */
#ifndef UNIVERSAL_TRACER_UNWIND_REGISTERS_H
#define UNIVERSAL_TRACER_UNWIND_REGISTERS_H

static __always_inline bool read_stack(void *to, __u32 bytes, __u64 from)
{
	return bpf_probe_read_user(to, bytes, (void *)from) == 0;
}

#if defined(__TARGET_ARCH_x86)
/* Registers that a compiler uses for the frame's address within one function; numbers are DWARF's. */
static __always_inline __u64 leaf_register(__s32 number)
{
	__u64 registers = (__u64)saved_registers(present_task()), value = 0;
	__u32 offset;

	switch (number) {
	case 0: offset = offsetof(struct pt_regs, ax); break;
	case 1: offset = offsetof(struct pt_regs, dx); break;
	case 2: offset = offsetof(struct pt_regs, cx); break;
	case 3: offset = offsetof(struct pt_regs, bx); break;
	case 4: offset = offsetof(struct pt_regs, si); break;
	case 5: offset = offsetof(struct pt_regs, di); break;
	case 8: offset = offsetof(struct pt_regs, r8); break;
	case 9: offset = offsetof(struct pt_regs, r9); break;
	case 10: offset = offsetof(struct pt_regs, r10); break;
	case 11: offset = offsetof(struct pt_regs, r11); break;
	case 12: offset = offsetof(struct pt_regs, r12); break;
	case 13: offset = offsetof(struct pt_regs, r13); break;
	case 14: offset = offsetof(struct pt_regs, r14); break;
	case 15: offset = offsetof(struct pt_regs, r15); break;
	default: return 0;
	}
	bpf_probe_read_kernel(&value, sizeof(value), (void *)(registers + offset));
	return value;
}

/* struct rt_sigframe: r8 … r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip from sp + 40 on */
#define SIGNAL_REGISTERS (40 + 10 * 8)

static __always_inline bool leave_signal_frame(struct user_registers *registers)
{
	__u64 saved[7];

	if (!read_stack(saved, sizeof(saved), registers->sp + SIGNAL_REGISTERS))
		return false;
	registers->fp = saved[0];
	registers->sp = saved[5];
	registers->pc = saved[6];
	return true;
}

static __always_inline void take_user_registers(struct user_registers *registers, struct task_struct *task)
{
	struct pt_regs *saved = saved_registers(task);

	registers->pc = BPF_CORE_READ(saved, ip);
	registers->sp = BPF_CORE_READ(saved, sp);
	registers->fp = BPF_CORE_READ(saved, bp);
}

#define PLAIN_ADDRESS(address) (address)
#else
static __always_inline __u64 leaf_register(__s32 number)
{
	return 0;
}

/* struct rt_sigframe: siginfo 128, ucontext 176 up to the registers, fault_address 8; then x0 … x30, sp, pc */
#define SIGNAL_REGISTERS (128 + 176 + 8 + 29 * 8)

static __always_inline bool leave_signal_frame(struct user_registers *registers)
{
	__u64 saved[4];

	if (!read_stack(saved, sizeof(saved), registers->sp + SIGNAL_REGISTERS))
		return false;
	registers->fp = saved[0];
	registers->lr = saved[1];
	registers->sp = saved[2];
	registers->pc = saved[3];
	return true;
}

static __always_inline void take_user_registers(struct user_registers *registers, struct task_struct *task)
{
	struct user_pt_regs *saved = (struct user_pt_regs *)saved_registers(task);

	registers->pc = BPF_CORE_READ(saved, pc);
	registers->sp = BPF_CORE_READ(saved, sp);
	registers->fp = BPF_CORE_READ(saved, regs[29]);
	registers->lr = BPF_CORE_READ(saved, regs[30]);
}

/* without the signature of pointer authentication */
#define PLAIN_ADDRESS(address) ((address) & 0x0000ffffffffffffULL)
#endif

#endif
