/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Searches in an operation's bytes. These functions are global so that the
 * verifier looks at each once, by itself, and not on every path that leads to it:
 * that was most of the time that loading took. They find the bytes by the
 * number of their scratch, as pointers cannot be handed over before 5.13.
 */
#ifndef UNIVERSAL_TRACER_HTTP_SEARCH_H
#define UNIVERSAL_TRACER_HTTP_SEARCH_H

#define REQUEST_VERSION 0x2e312f5054544820ULL /* " HTTP/1." */

#define STRIDE 64 /* bytes looked at without a branch, because the verifier follows each */

/* 1 where nothing differs, else 0. */
static __always_inline __u32 is_zero(__u64 difference)
{
	__u64 sign = difference | -difference;

	barrier_var(sign);
	return (sign >> 63) ^ 1;
}

/* 1 where a number is negative, else 0. */
static __always_inline __u32 is_negative(__s64 number)
{
	barrier_var(number);
	return (__u64)number >> 63;
}

struct search {
	const char *bytes; /* CAPTURE_LIMIT of them and more may be read */
	__s64 length;
	__u32 newlines;
	__u32 found;
};

STEP long count_in_stride(__u32 index, struct search *search)
{
	__s64 start = (__s64)index * STRIDE, last = search->length - sizeof(__u64);

	if (start >= CAPTURE_LIMIT || start > last)
		return 1;
	for (__s64 i = start; i < start + STRIDE; i++) {
		__u64 difference = *(const __u64 *)(search->bytes + i) ^ REQUEST_VERSION;

		search->found += is_zero(difference | is_negative(last - i));
	}
	return 0;
}

/* How many requests begin in the bytes: each request line has one " HTTP/1.". */
__noinline int count_requests(__u32 slot, __u32 length)
{
	struct scratch *scratch = get_scratch(slot);
	struct search search = {.length = length};

	if (!scratch)
		return 0;
	search.bytes = scratch->data;
	repeat(CAPTURE_LIMIT / STRIDE, count_in_stride, &search);
	return search.found;
}

STEP long find_end_in_stride(__u32 index, struct search *search)
{
	__s64 start = (__s64)index * STRIDE;

	if (start >= CAPTURE_LIMIT || start >= search->length)
		return 1;
	for (__s64 i = start; i < start + STRIDE; i++) {
		__u64 byte = (__u8)search->bytes[i];
		__u32 is_newline = is_zero(byte ^ '\n') & is_negative(i - search->length);

		search->newlines = (search->newlines + is_newline) & -(is_newline | is_zero(byte ^ '\r'));
		search->found |= search->newlines >> 1;
	}
	return search->found != 0;
}

/* Whether the bytes hold the empty line at a head's end. */
__noinline int holds_whole_head(__u32 slot, __u32 length)
{
	struct scratch *scratch = get_scratch(slot);
	struct search search = {.length = length};

	if (!scratch)
		return 0;
	search.bytes = scratch->data;
	repeat(CAPTURE_LIMIT / STRIDE, find_end_in_stride, &search);
	return search.found;
}

#endif
