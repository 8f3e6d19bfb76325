/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Does an operation's first bytes begin an HTTP/1 message? A guess good enough
 * to switch other protocols off early; native/core parses and has the last word.
 */
#ifndef UNIVERSAL_TRACER_HTTP_RECOGNISE_H
#define UNIVERSAL_TRACER_HTTP_RECOGNISE_H

#define METHOD_LIMIT 20
#define LEADING_LIMIT 4

enum likeness {
	LIKE_NOTHING = 0,
	LIKE_PREFIX = 1, /* too short to tell, could still be either */
	LIKE_REQUEST = 2,
	LIKE_RESPONSE = 3,
};

static __always_inline bool is_letter(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-' || c == '_';
}

/* Behind the method: a path, '*', an absolute URI, or CONNECT's authority. */
static __always_inline bool begins_target(char c, bool connect)
{
	return c == '/' || c == '*' || c == 'h' || c == 'H' || (connect && c > ' ');
}

static __always_inline enum likeness recognise(const char *bytes, __u32 length)
{
	static const char version[] = "HTTP/1.";
	bool response = true, connect = bytes[0] == 'C' && bytes[1] == 'O' && bytes[3] == 'N';
	__u32 start = 0;

	for (__u32 i = 0; i < LEADING_LIMIT; i++) /* RFC 9112: empty lines before a request are ignored */
		if (start == i && (bytes[i] == '\r' || bytes[i] == '\n'))
			start = i + 1;
	if (start)
		return LIKE_REQUEST;
	for (__u32 i = 0; i < sizeof(version) - 1; i++)
		if (i < length && bytes[i] != version[i])
			response = false;
	if (response)
		return length < sizeof(version) - 1 ? LIKE_PREFIX : LIKE_RESPONSE;
	for (__u32 i = 0; i < METHOD_LIMIT; i++) {
		if (i >= length)
			return LIKE_PREFIX;
		if (bytes[i] == ' ' && i > 0) {
			if (i + 1 >= length)
				return LIKE_PREFIX;
			return begins_target(bytes[i + 1], connect) ? LIKE_REQUEST : LIKE_NOTHING;
		}
		if (!is_letter(bytes[i]))
			return LIKE_NOTHING;
	}
	return LIKE_NOTHING;
}

#endif
