/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * The records that cross the ring from http_tracer.bpf.c to native/core.
 *
 * Fixed-width members, no hidden padding, little surprises: native/core mirrors
 * these structs with repr(C) and compares every member's offset with the BTF of
 * the object it loads, so that the two sides cannot drift apart unnoticed.
 */
#ifndef UNIVERSAL_TRACER_RECORDS_H
#define UNIVERSAL_TRACER_RECORDS_H

enum record_kind {
	RECORD_OPEN = 1,  /* first sight of a socket; payload: struct endpoints */
	RECORD_DATA = 2,  /* a socket operation; payload: `captured` bytes of it */
	RECORD_END = 3,   /* no byte follows in this direction (FIN, shutdown, read of 0) */
	RECORD_CLOSE = 4, /* the socket is gone; both directions ended */
};

enum record_flag {
	RECORD_SENT = 1 << 0,     /* direction: set = sent by this socket, clear = received */
	RECORD_START = 1 << 1,    /* the kernel saw a new exchange begin with this operation */
	RECORD_LATE = 1 << 2,     /* OPEN: the connection is older than the tracer */
	RECORD_RESET = 1 << 3,    /* CLOSE: ended by RST, from either side */
	RECORD_LOST = 1 << 4,     /* an exchange was left out (and counted) since the last record */
	RECORD_SKIPPED = 1 << 5,  /* an exchange was sampled out since the last record */
	RECORD_CLIENT = 1 << 6,   /* OPEN: the handshake was seen and this side began it */
	RECORD_SERVER = 1 << 7,   /* OPEN: the handshake was seen and the peer began it */
	RECORD_WAKE = 1 << 8,     /* the ring was more than half full: the kernel wakes the reader */
};

#define COMM_LENGTH 16

/* 64 bytes; time in CLOCK_MONOTONIC ns at the end of the call. */
struct record {
	__u64 time_ns;
	__u64 connection; /* socket cookie: unique while the machine runs */
	__u32 pid;        /* thread group of the caller; 0 where the kernel acted by itself */
	__u32 tid;
	__u32 sequence;   /* TCP sequence number of the first byte; Unix sockets: byte count */
	__u32 length;     /* bytes that the call moved */
	__u32 captured;   /* bytes of payload behind this struct, <= length for DATA */
	__u32 rtt_us;     /* smoothed round-trip time, 0 = unknown */
	__u32 retransmits; /* since the connection began */
	__u16 kind;       /* enum record_kind */
	__u16 flags;      /* enum record_flag */
	char comm[COMM_LENGTH];
};

#define UNIX_PATH_LENGTH 108

/* payload of RECORD_OPEN, 144 bytes; addresses in network order, IPv4 in the first four bytes */
struct endpoints {
	__u64 opened_ns;  /* end of the handshake; 0 = not seen */
	__u64 cgroup;     /* of the task at first sight (v2 id), 0 = unknown */
	__u32 netns;      /* inode number of the network namespace */
	__u16 family;     /* AF_INET 2, AF_INET6 10, AF_UNIX 1 */
	__u16 local_port; /* host order */
	__u16 peer_port;  /* host order */
	__u16 path_length; /* Unix sockets: bytes of `path` in use */
	__u32 reserved;
	union {
		struct {
			__u8 local[16];
			__u8 peer[16];
		};
		__u8 path[UNIX_PATH_LENGTH + 4]; /* as bound; a leading NUL marks the abstract name space */
	};
};

#endif
