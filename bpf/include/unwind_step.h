/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* From one function's registers to its caller's. */
#ifndef UNIVERSAL_TRACER_UNWIND_STEP_H
#define UNIVERSAL_TRACER_UNWIND_STEP_H

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

#endif
