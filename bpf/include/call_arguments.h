/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Values and texts of arguments, from registers, memory and records of tracepoints: call_state.h says where they are. */
#ifndef UNIVERSAL_TRACER_CALL_ARGUMENTS_H
#define UNIVERSAL_TRACER_CALL_ARGUMENTS_H

static __always_inline bool read_register(void *ctx, __u16 at, __u64 *value)
{
	return !bpf_probe_read_kernel(value, sizeof(*value), ctx + at);
}

/* Of a tracepoint's record. */
static __always_inline bool read_field(void *ctx, const struct value_spec *spec, __u64 *value)
{
	__u32 bytes = spec->bytes;

	*value = 0;
	if (spec->place != PLACE_FIELD || bytes > sizeof(*value))
		return false;
	return !bpf_probe_read_kernel(value, bytes, ctx + spec->base);
}

static __always_inline bool read_value(void *ctx, const struct value_spec *spec, __u64 *value)
{
	__u64 at = 0, index = 0;

	switch (spec->place) {
	case PLACE_REGISTER:
		return read_register(ctx, spec->base, value);
	case PLACE_CONSTANT:
		*value = spec->constant;
		return true;
	case PLACE_STACK:
		at = PT_REGS_SP((struct pt_regs *)ctx);
		break;
	case PLACE_MEMORY:
		if (!read_register(ctx, spec->base, &at))
			return false;
		break;
	case PLACE_INDEXED:
		if (!read_register(ctx, spec->base, &at) || !read_register(ctx, spec->index, &index))
			return false;
		at += index << (spec->shift & 63);
		break;
	case PLACE_RELATIVE:
		at = PT_REGS_IP((struct pt_regs *)ctx) + spec->constant;
		break;
	default:
		return false;
	}
	return !bpf_probe_read_user(value, sizeof(*value), (void *)at + spec->offset);
}

/* `to` has TEXT_BYTES, and ends with 0 afterwards. */
static __always_inline bool read_text(void *ctx, const struct argument_spec *spec, __u64 value, char *to)
{
	__u64 length = 0;

	if (spec->kind == TEXT_ENDED)
		return bpf_probe_read_user_str(to, TEXT_BYTES, (void *)value) > 0;
	if (spec->kind == TEXT_IN_KERNEL)
		return bpf_probe_read_kernel_str(to, TEXT_BYTES, (void *)value) > 0;
	if (spec->kind != TEXT_COUNTED || !read_value(ctx, &spec->length, &length))
		return false;
	if (length > TEXT_BYTES - 1)
		length = TEXT_BYTES - 1;
	to[length & (TEXT_BYTES - 1)] = 0;
	return !bpf_probe_read_user(to, length & (TEXT_BYTES - 1), (void *)value);
}

static __always_inline bool read_field_text(void *ctx, const struct argument_spec *spec, __u64 value, char *to)
{
	__u32 length = spec->value.bytes;

	if (spec->kind == TEXT_DYNAMIC)
		return bpf_probe_read_kernel_str(to, TEXT_BYTES, ctx + (value & 0xffff)) > 0;
	if (spec->kind == TEXT_ENDED) /* the field points to it */
		return bpf_probe_read_user_str(to, TEXT_BYTES, (void *)value) > 0;
	if (length > TEXT_BYTES - 1)
		length = TEXT_BYTES - 1;
	to[length & (TEXT_BYTES - 1)] = 0;
	return !bpf_probe_read_kernel(to, length & (TEXT_BYTES - 1), ctx + spec->value.base);
}

/* Returns whether the call has texts. `is_record`: the context is a tracepoint's record, and no registers. */
static __always_inline bool read_arguments(void *ctx, const struct function_spec *spec, struct stack_scratch *scratch,
					   bool is_record)
{
	bool has_texts = false;
	__u32 text;

	for (__u32 index = 0; index < MAX_ARGUMENTS; index++) {
		const struct argument_spec *argument = &spec->argument[index];
		__u64 *value = &scratch->call.arguments[index];

		if (index >= spec->arguments)
			break;
		if (is_record ? argument->kind != TEXT_CHARACTERS && !read_field(ctx, &argument->value, value) :
				!read_value(ctx, &argument->value, value))
			continue;
		scratch->call.known |= 1 << index;
		if (argument->kind == TEXT_NONE)
			continue;
		text = argument->text & (MAX_TEXTS - 1);
		has_texts = true;
		if (is_record ? read_field_text(ctx, argument, *value, scratch->texts.text[text]) :
				read_text(ctx, argument, *value, scratch->texts.text[text]))
			scratch->call.known |= 1 << (MAX_ARGUMENTS + text);
	}
	return has_texts;
}

#endif
