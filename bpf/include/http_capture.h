/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Copies an operation's bytes from the user's memory.
 */
#ifndef UNIVERSAL_TRACER_HTTP_CAPTURE_H
#define UNIVERSAL_TRACER_HTTP_CAPTURE_H

/* Reads up to MAX_IOVECS ranges of the buffer and returns how many. */
static __always_inline __u32 read_ranges(struct user_iovec *ranges, const struct user_buffer *buffer)
{
	__u32 count = buffer->iovec_count;

#ifdef AT_SYS_EXIT
	if (buffer->is_messages)
		return read_first_ranges(ranges, buffer);
#endif
	if (count > MAX_IOVECS)
		count = MAX_IOVECS;
	barrier_var(count); /* or clang keeps a copy without the bound */
	return bpf_probe_read_user(ranges, count * sizeof(struct user_iovec), (void *)buffer->iovecs) ? 0 : count;
}

/*
 * Copies of the ranges as much as is wanted and returns how many bytes. Global,
 * so that the verifier follows its loop once: see http_search.h.
 */
__noinline int gather(__u32 slot, __u32 want)
{
	struct scratch *scratch = get_scratch(slot);
	__u32 count;

	if (!scratch)
		return 0;
	count = read_ranges(scratch->ranges, &scratch->operation.buffer);
	scratch->done = 0;
	for (__u32 i = 0; i < MAX_IOVECS && i < count; i++) {
		__u32 done = scratch->done, piece = want - done;

		if (scratch->ranges[i].length < piece)
			piece = scratch->ranges[i].length;
		if (done >= CAPTURE_LIMIT || piece > CAPTURE_LIMIT)
			break;
		if (piece && bpf_probe_read_user(scratch->data + done, piece, (void *)scratch->ranges[i].base))
			break;
		scratch->done = done + piece;
		if (scratch->done >= want)
			break;
	}
	return scratch->done;
}

/*
 * Copies up to `want` bytes of the operation's buffer to the scratch, which holds
 * CAPTURE_LIMIT bytes and as many again as slack, so that the verifier can bound each
 * piece by itself. Returns how many were copied; fewer than `want` where memory could not be read.
 */
static __always_inline __u32 copy_user_buffer(struct scratch *scratch, __u32 slot, __u32 want)
{
	barrier_var(want); /* or clang leaves out a bound that the verifier has not seen */
	if (want > CAPTURE_LIMIT)
		return 0;
	if (scratch->operation.buffer.iovecs)
		return gather(slot, want);
	return bpf_probe_read_user(scratch->data, want, (void *)scratch->operation.buffer.base) ? 0 : want;
}

#endif
