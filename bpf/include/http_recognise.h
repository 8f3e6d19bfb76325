/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Does an operation's first bytes begin an HTTP/1 message? A guess good enough
 * to switch other protocols off early; native/core parses and has the last word.
 *
 * Usual methods are told by four bytes. The rest goes through a table without a
 * branch per byte, because the verifier follows every branch on every path.
 */
#ifndef UNIVERSAL_TRACER_HTTP_RECOGNISE_H
#define UNIVERSAL_TRACER_HTTP_RECOGNISE_H

#define METHOD_LIMIT 24 /* bytes searched for the space behind the method */

enum likeness {
	LIKE_NOTHING = 0,
	LIKE_PREFIX = 1, /* too short to tell, could still be either */
	LIKE_REQUEST = 2,
	LIKE_RESPONSE = 3,
};

enum character_class {
	IS_METHOD = 1,	    /* letters, '-' and '_' */
	IS_SPACE = 2,
	BEGINS_TARGET = 4,  /* '/', '*', an absolute URI, an authority */
	IS_LINE_END = 8,    /* RFC 9112: empty lines before a request are ignored */
};

#define UPPER_OR_LOWER IS_METHOD | BEGINS_TARGET

const __u8 character_classes[256] = {
	['a' ... 'z'] = UPPER_OR_LOWER, ['A' ... 'Z'] = UPPER_OR_LOWER,
	['0' ... '9'] = BEGINS_TARGET, ['-'] = IS_METHOD, ['_'] = IS_METHOD,
	['/'] = BEGINS_TARGET, ['*'] = BEGINS_TARGET, ['['] = BEGINS_TARGET,
	[' '] = IS_SPACE, ['\r'] = IS_LINE_END, ['\n'] = IS_LINE_END,
};

#define FOUR(a, b, c, d) ((__u32)(a) | (__u32)(b) << 8 | (__u32)(c) << 16 | (__u32)(d) << 24)

static __always_inline bool is_usual_method(__u32 four)
{
	return four == FOUR('G', 'E', 'T', ' ') || four == FOUR('P', 'O', 'S', 'T') ||
	       four == FOUR('P', 'U', 'T', ' ') || four == FOUR('H', 'E', 'A', 'D') ||
	       four == FOUR('D', 'E', 'L', 'E');
}

/* "HTTP/1.x 1…": 100 Continue, 103 Early Hints. After 101 the connection leaves HTTP. */
static __always_inline bool is_interim(const char *bytes, __u32 length)
{
	return length > 9 && *(const __u32 *)bytes == FOUR('H', 'T', 'T', 'P') && bytes[8] == ' ' && bytes[9] == '1';
}

/* `bytes` holds at least METHOD_LIMIT bytes; those from `length` on are ignored. */
static __always_inline enum likeness recognise(const char *bytes, __u32 length)
{
	__u32 four = *(const __u32 *)bytes, next = *(const __u32 *)(bytes + 4);
	__u32 method = 0, space = 0, target = 0, line_end = 0, first_space, seen;

	if (length >= 8 && is_usual_method(four))
		return LIKE_REQUEST;
	if (length >= 8 && four == FOUR('H', 'T', 'T', 'P') && (next & 0xffffff) == FOUR('/', '1', '.', 0))
		return LIKE_RESPONSE;
	for (__u32 i = 0; i < METHOD_LIMIT; i++) {
		__u32 class = character_classes[(__u8)bytes[i]];

		method |= (class & IS_METHOD) << i;
		space |= ((class & IS_SPACE) >> 1) << i;
		target |= ((class & BEGINS_TARGET) >> 2) << i;
		line_end |= ((class & IS_LINE_END) >> 3) << i;
	}
	seen = length < METHOD_LIMIT ? (1u << (length & 31)) - 1 : (1u << METHOD_LIMIT) - 1;
	if (line_end & seen & 1)
		return LIKE_REQUEST;
	first_space = space & seen;
	first_space &= -first_space;
	if (!first_space) /* no end of the method yet: letters only, or "HTTP/1" cut off */
		return (method & seen) == seen || (length < 8 && four == FOUR('H', 'T', 'T', 'P')) ? LIKE_PREFIX : LIKE_NOTHING;
	if (first_space == 1 || (method & (first_space - 1)) != first_space - 1)
		return LIKE_NOTHING;
	if (!((first_space << 1) & seen))
		return LIKE_PREFIX;
	return (target >> 1) & first_space ? LIKE_REQUEST : LIKE_NOTHING;
}

#endif
