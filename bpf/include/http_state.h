/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * What the HTTP tracer keeps: a connection's state in its socket, userspace's
 * advice, the ring, and the place where a record is put together.
 */
#ifndef UNIVERSAL_TRACER_HTTP_STATE_H
#define UNIVERSAL_TRACER_HTTP_STATE_H

enum policy { POLICY_UNKNOWN = 0, POLICY_HTTP = 1, POLICY_OFF = 2 };
enum verdict {
	VERDICT_NONE = 0,
	VERDICT_RECORD = 1,
	VERDICT_SKIP = 2, /* left out by sampling */
	VERDICT_LOSE = 3, /* left out for want of room, to be counted */
};
enum direction { RECEIVED = 0, SENT = 1, NEITHER = 2 };

/* What the kernel knows of a connection; lives and dies with the socket: http_storage.h. */
struct connection {
	__u64 id;
	__u64 opened_ns;
	__u32 next[2];	    /* Unix sockets: bytes moved since the first sight, per direction */
	__u32 budget[2];    /* bytes of the present message that may still be copied */
	__u32 last_tid;
	__u32 target_pid;      /* found to be a target … */
	__u32 target_removals; /* … when so many had been removed */
	__u16 pending;	    /* record flags that the next record carries */
	__u16 peeks;
	__u16 born;	    /* RECORD_CLIENT, RECORD_SERVER or RECORD_LATE */
	__u8 policy;
	__u8 verdict;	    /* on the present exchange */
	__u8 answered;	    /* bytes went against the requests since the verdict */
	__u8 request_direction;
	__u8 last_direction;
	__u8 announced;	    /* RECORD_OPEN was sent */
	__u8 on_interface;  /* its local address was found among the chosen ones */
	__u8 pipelined;	    /* several requests came at once: every byte may be a head's */
#ifdef AT_SYS_EXIT
	__u64 inode; /* of a Unix socket */
#endif
};

/* Userspace's advice on a connection, found at its id modulo ADVICE_SLOTS. */
struct advice {
	__u64 connection; /* 0 while being written */
	__u32 skip_until[2];
	__u8 skip[2];
	__u8 off;
	__u8 pipelined;
	__u8 reserved[4];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, ADVICE_SLOTS);
	__type(key, __u32);
	__type(value, struct advice);
} advices SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 * 1024 * 1024); /* the session sets the real size */
} events SEC(".maps");

/*
 * Where a record is put together. One slot per hook: a program never interrupts
 * itself on a CPU (the kernel sees to that), but one may interrupt another.
 */
struct operation {
	struct user_buffer buffer;
	__u32 length;	/* bytes that the call moved */
	__u32 sequence; /* of the first of them */
	__u32 want;	/* bytes worth copying */
	__u32 captured; /* bytes copied to scratch.data */
	__u32 direction;
};

/*
 * The operation lies here and not on the stack, so that the verifier takes its
 * members for unknown: paths that differ in them alone are followed once.
 */
struct scratch {
	struct operation operation;
	struct user_iovec ranges[MAX_IOVECS];
	__u64 done; /* bytes copied of the ranges; here, so that the verifier does not follow each number */
	struct record record;
	union {
		char data[2 * CAPTURE_LIMIT];
		struct endpoints endpoints; /* of RECORD_OPEN */
	};
};

enum scratch_slot { SCRATCH_RECEIVE = 0, SCRATCH_SEND = 1, SCRATCH_STATE = 2, SCRATCH_URING = 3, SCRATCH_SLOTS = 4 };

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SCRATCH_SLOTS);
	__type(key, __u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

#endif
