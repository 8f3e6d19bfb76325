/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Walks user stacks by tables that native/core/src/unwind compiles from .eh_frame and .debug_frame.
 *
 * A process's executable mappings lead to objects, an object's rows to rules: how to find the caller's registers.
 * Userspace writes all of it and replaces whole inner maps, so that a walk sees the old or the new, never a mixture.
 * Only three registers are followed: pc, sp and the frame pointer (and lr on arm64).
 */
#ifndef UNIVERSAL_TRACER_STACK_UNWIND_H
#define UNIVERSAL_TRACER_STACK_UNWIND_H

#define MAX_UNWIND_OBJECTS 8192
#define MAX_UNWIND_RULES 65536
#define ROWS_PER_CHUNK 512
/* halvings that find one of 16,384 mappings, 16,384 chunks, 512 rows */
#define MAPPING_STEPS 15
#define CHUNK_STEPS 15
#define ROW_STEPS 9

/* Rows whose rule is a command and no index. */
enum unwind_command {
	COMMAND_NONE = 0xffffffff,   /* no function is known here */
	COMMAND_STOP = 0xfffffffe,   /* a thread's first function */
	COMMAND_SIGNAL = 0xfffffffd, /* returns from a signal handler */
	COMMAND_UNKNOWN = 0xfffffffc, /* a rule that is not understood */
};

enum cfa_kind {
	CFA_SP = 0,	  /* sp + offset */
	CFA_FP = 1,	  /* fp + offset */
	CFA_SP_DEREF = 2, /* *(sp + offset) + post */
	CFA_FP_DEREF = 3, /* *(fp + offset) + post */
	CFA_PLT = 4,	  /* sp + 8, and 8 more from the instruction at `post` of 16 bytes on */
	CFA_REGISTER = 5, /* a register that only the innermost function's frame has; `post` is its number */
};

enum fp_kind {
	FP_SAME = 0,
	FP_AT_CFA = 1, /* saved at cfa + offset */
	FP_AT_FP = 2,  /* saved at fp + offset */
};

enum ra_kind {
	RA_AT_CFA = 0, /* saved at cfa + offset */
	RA_IN_LR = 1,  /* arm64: still in its register */
};

/* The mirror of native/core/src/unwind/rules.rs: 20 bytes. */
struct unwind_rule {
	__u8 cfa;  /* enum cfa_kind */
	__u8 fp;   /* enum fp_kind */
	__u8 ra;   /* enum ra_kind */
	__u8 reserved;
	__s32 cfa_offset;
	__s32 fp_offset;
	__s32 ra_offset;
	__s32 post;
};

struct unwind_row {
	__u32 pc; /* from the object's base */
	__u32 rule; /* index or enum unwind_command */
};

struct unwind_chunk {
	struct unwind_row rows[ROWS_PER_CHUNK];
};

struct unwind_table {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_INNER_MAP);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct unwind_chunk));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, MAX_UNWIND_OBJECTS);
	__type(key, __u32);
	__array(values, struct unwind_table);
} unwind_tables SEC(".maps");

enum object_state {
	OBJECT_WAITING = 0,	   /* its table is being compiled, or was given up for others */
	OBJECT_TABLE = 1,
	OBJECT_FRAME_POINTERS = 2, /* it has no table */
};

struct unwind_object {
	__u32 state; /* enum object_state */
	__u32 chunks;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_UNWIND_OBJECTS);
	__type(key, __u32);
	__type(value, struct unwind_object);
} unwind_objects SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_UNWIND_RULES);
	__type(key, __u32);
	__type(value, struct unwind_rule);
} unwind_rules SEC(".maps");

/* The first of a process's mappings is none: its `start` is how many follow, sorted. */
struct unwind_mappings {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_INNER_MAP);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct unwind_mapping));
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, MAX_KNOWN_PROCESSES);
	__type(key, __u32);
	__array(values, struct unwind_mappings);
} process_mappings SEC(".maps");

/* What a bpf_loop hands to each turn. */
struct walk {
	struct stack_scratch *scratch;
};

static __always_inline bool read_stack(void *to, __u32 bytes, __u64 from)
{
	return bpf_probe_read_user(to, bytes, (void *)from) == 0;
}

static __always_inline bool is_in(const struct unwind_mapping *mapping, __u64 pc)
{
	return pc >= mapping->start && pc < mapping->end;
}

/* Leaves the mapping that holds `pc` in the registers' cache. */
static __always_inline bool find_mapping(struct stack_scratch *scratch, __u64 pc)
{
	struct unwind_mapping *mapping;
	__u32 pid = scratch->sample.pid, base = 1, left, key = 0;
	void *mappings;

	if (is_in(&scratch->registers.mapping, pc))
		return true;
	mappings = bpf_map_lookup_elem(&process_mappings, &pid);
	if (!mappings)
		return false;
	mapping = bpf_map_lookup_elem(mappings, &key);
	if (!mapping)
		return false;
	left = mapping->start;
	for (int step = 0; step < MAPPING_STEPS; step++) {
		__u32 half = left >> 1;

		key = base + half;
		mapping = bpf_map_lookup_elem(mappings, &key);
		if (!mapping)
			return false;
		if (mapping->start <= pc)
			base = key;
		left -= half;
		if (left <= 1)
			break;
	}
	key = base;
	mapping = bpf_map_lookup_elem(mappings, &key);
	if (!mapping || !is_in(mapping, pc))
		return false;
	scratch->registers.mapping = *mapping;
	return true;
}

/* The rule that holds at `pc`, from the object's base. */
static __always_inline __u32 find_rule(const struct unwind_object *object, __u32 table_number, __u32 pc)
{
	__u32 base = 0, left = object->chunks, key, row = 0;
	struct unwind_chunk *chunk;
	void *table = bpf_map_lookup_elem(&unwind_tables, &table_number);

	if (!table)
		return COMMAND_NONE;
	for (int step = 0; step < CHUNK_STEPS && left > 1; step++) {
		__u32 half = left >> 1;

		key = base + half;
		chunk = bpf_map_lookup_elem(table, &key);
		if (!chunk)
			return COMMAND_NONE;
		if (chunk->rows[0].pc <= pc)
			base = key;
		left -= half;
	}
	key = base;
	chunk = bpf_map_lookup_elem(table, &key);
	if (!chunk || chunk->rows[0].pc > pc)
		return COMMAND_NONE;
	/* the rows behind the last one have the highest pc that there is */
	for (__u32 half = ROWS_PER_CHUNK / 2; half; half >>= 1) {
		__u32 candidate = (row + half) & (ROWS_PER_CHUNK - 1);

		if (chunk->rows[candidate].pc <= pc)
			row = candidate;
	}
	return chunk->rows[row & (ROWS_PER_CHUNK - 1)].rule;
}

#if defined(__TARGET_ARCH_x86)
/* Registers that a compiler uses for the frame's address within one function; numbers are DWARF's. */
static __always_inline __u64 leaf_register(__s32 number)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());

	switch (number) {
	case 0: return regs->ax;
	case 1: return regs->dx;
	case 2: return regs->cx;
	case 3: return regs->bx;
	case 4: return regs->si;
	case 5: return regs->di;
	case 8: return regs->r8;
	case 9: return regs->r9;
	case 10: return regs->r10;
	case 11: return regs->r11;
	case 12: return regs->r12;
	case 13: return regs->r13;
	case 14: return regs->r14;
	case 15: return regs->r15;
	}
	return 0;
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
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);

	registers->pc = regs->ip;
	registers->sp = regs->sp;
	registers->fp = regs->bp;
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
	struct user_pt_regs *regs = (struct user_pt_regs *)bpf_task_pt_regs(task);

	registers->pc = regs->pc;
	registers->sp = regs->sp;
	registers->fp = regs->regs[29];
	registers->lr = regs->regs[30];
}

/* without the signature of pointer authentication */
#define PLAIN_ADDRESS(address) ((address) & 0x0000ffffffffffffULL)
#endif

static __always_inline bool find_cfa(const struct user_registers *registers, const struct unwind_rule *rule, __u64 *cfa)
{
	bool by_fp = rule->cfa == CFA_FP || rule->cfa == CFA_FP_DEREF;
	__u64 address = (by_fp ? registers->fp : registers->sp) + rule->cfa_offset;

	if (rule->cfa == CFA_SP_DEREF || rule->cfa == CFA_FP_DEREF) {
		if (!read_stack(&address, sizeof(address), address))
			return false;
		address += rule->post;
	} else if (rule->cfa == CFA_PLT) {
		address += ((registers->pc & 15) >= (__u64)rule->post) << 3;
	} else if (rule->cfa == CFA_REGISTER) {
		if (!registers->is_leaf)
			return false;
		address = leaf_register(rule->post) + rule->cfa_offset;
	}
	*cfa = address;
	return true;
}

/* One copy gives the return address and the frame pointer where both are near, as nearly always. */
#define NEAR_WORDS 8

static __always_inline bool restore(struct user_registers *registers, const struct unwind_rule *rule, __u64 cfa)
{
	__u64 pc, fp = registers->fp;
	__s32 fp_offset = rule->fp_offset;

#if defined(__TARGET_ARCH_x86)
	__u64 near[NEAR_WORDS];

	if (rule->fp == FP_AT_CFA && fp_offset == -16) {
		if (!read_stack(near, 16, cfa - 16))
			return false;
		fp = near[0];
		pc = near[1];
	} else if (rule->fp == FP_AT_CFA && fp_offset < -16 && fp_offset >= -8 * NEAR_WORDS) {
		if (!read_stack(near, sizeof(near), cfa - sizeof(near)))
			return false;
		pc = near[NEAR_WORDS - 1];
		switch (fp_offset) {
		case -24: fp = near[5]; break;
		case -32: fp = near[4]; break;
		case -40: fp = near[3]; break;
		case -48: fp = near[2]; break;
		case -56: fp = near[1]; break;
		default: fp = near[0];
		}
	} else
#endif
	{
		__u64 saved_at = rule->fp == FP_AT_FP ? registers->fp : cfa;

		if (rule->ra == RA_IN_LR)
			pc = registers->lr;
		else if (!read_stack(&pc, sizeof(pc), cfa + rule->ra_offset))
			return false;
		if (rule->fp != FP_SAME && !read_stack(&fp, sizeof(fp), saved_at + fp_offset))
			return false;
	}
	registers->pc = PLAIN_ADDRESS(pc);
	registers->fp = fp;
	registers->sp = cfa;
	return true;
}

static __always_inline enum stack_end follow_frame_pointer(struct user_registers *registers)
{
	__u64 saved[2];

	if (!registers->fp)
		return END_COMPLETE;
	if (registers->fp < registers->sp || (registers->fp & 7))
		return END_FRAME_POINTERS;
	if (!read_stack(saved, sizeof(saved), registers->fp))
		return END_FRAME_POINTERS;
	registers->sp = registers->fp + sizeof(saved);
	registers->fp = saved[0];
	registers->pc = PLAIN_ADDRESS(saved[1]);
	return END_GOES_ON;
}

static __always_inline enum stack_end follow_rule(struct user_registers *registers, __u32 number)
{
	struct unwind_rule *rule;
	__u64 cfa;

	if (number == COMMAND_STOP)
		return END_COMPLETE;
	if (number == COMMAND_SIGNAL) {
		if (!leave_signal_frame(registers))
			return END_UNREADABLE;
		registers->is_call = false;
		return END_GOES_ON;
	}
	if (number == COMMAND_NONE)
		return END_NO_ROW;
	rule = bpf_map_lookup_elem(&unwind_rules, &number);
	if (!rule || !find_cfa(registers, rule, &cfa))
		return END_RULE;
	/* a stack grows downwards: anything else would go round in circles */
	if (cfa < registers->sp || !restore(registers, rule, cfa))
		return END_UNREADABLE;
	registers->is_call = true;
	return END_GOES_ON;
}

/* The caller's registers, found by the mapping that holds the pc. */
static __always_inline enum stack_end step_out(struct stack_scratch *scratch)
{
	struct user_registers *registers = &scratch->registers;
	__u64 pc = registers->pc - registers->is_call;
	struct unwind_object *object;
	enum stack_end end;
	__u32 number;

	if (!find_mapping(scratch, pc))
		return END_NO_MAPPING;
	number = registers->mapping.object;
	object = bpf_map_lookup_elem(&unwind_objects, &number);
	if (!object || object->state == OBJECT_WAITING)
		return END_NO_TABLE;
	if (object->state == OBJECT_FRAME_POINTERS) {
		end = follow_frame_pointer(registers);
		registers->is_call = true;
	} else {
		end = follow_rule(registers, find_rule(object, number, pc - registers->mapping.bias));
	}
	registers->is_leaf = false;
	return end == END_GOES_ON && !registers->pc ? END_COMPLETE : end;
}

static long walk_frame(__u32 index, struct walk *walk)
{
	struct stack_scratch *scratch = walk->scratch;
	__u32 place;

	place = scratch->sample.kernel_frames + scratch->sample.user_frames;
	if (place > MAX_FRAMES)
		return 1;
	scratch->frames[place] = scratch->registers.pc;
	scratch->sample.user_frames++;
	scratch->sample.end = step_out(scratch);
	return scratch->sample.end != END_GOES_ON;
}

static __always_inline void walk_user_stack(struct stack_scratch *scratch, struct task_struct *task)
{
	struct walk walk = {scratch};
	__u32 depth = settings.max_depth;

	if (depth > MAX_USER_FRAMES)
		depth = MAX_USER_FRAMES;
	take_user_registers(&scratch->registers, task);
	scratch->registers.is_call = false;
	scratch->registers.is_leaf = true;
	scratch->registers.mapping.end = 0;
	scratch->sample.end = END_DEPTH;
	bpf_loop(depth, walk_frame, &walk, 0);
	if (scratch->sample.end == END_GOES_ON)
		scratch->sample.end = END_DEPTH;
	else if (scratch->sample.end > END_FRAME_POINTERS)
		scratch->sample.end_pc = scratch->registers.pc;
}

#endif
