/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* From a program counter to its mapping, and from there to the rule that holds. */
#ifndef UNIVERSAL_TRACER_UNWIND_FIND_H
#define UNIVERSAL_TRACER_UNWIND_FIND_H

/* halvings that find one of 16,384 mappings, 16,384 chunks, 512 rows */
#define MAPPING_STEPS 15
#define CHUNK_STEPS 15
#define ROW_STEPS 9

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

#endif
