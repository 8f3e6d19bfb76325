/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Whose sockets there are. A process owns a socket that connects or listens by it, sends or receives by it, or that
 * held it when the tracer began. What is known of a socket stays after its process: its last packets are still its.
 *
 * A socket is known by its cookie, and by its address until it has one.
 */
#ifndef UNIVERSAL_TRACER_XDP_OWNER_H
#define UNIVERSAL_TRACER_XDP_OWNER_H

#define MAX_SOCKETS 32768
#define MAX_OWNERS 4096

struct socket_owner {
	__u32 pid;
	__u32 wanted; /* a target's */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_SOCKETS);
	__type(key, __u64);
	__type(value, struct socket_owner);
} socket_owners SEC(".maps");

/* What owners are called. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_OWNERS);
	__type(key, __u32);
	__type(value, char[COMM_LENGTH]);
} owners SEC(".maps");

/* Why somebody is taken for a socket's owner. */
enum claim {
	HOLDS = 0, /* has a descriptor: nobody else is put out but by a target */
	USES = 1,  /* sends, receives, connects or listens */
};

/* Returns whether nothing was known of the socket. */
static __always_inline bool own(__u64 key, struct task_struct *task, enum claim claim)
{
	struct socket_owner *known = bpf_map_lookup_elem(&socket_owners, &key), fresh = {};
	char comm[COMM_LENGTH] = {};
	__u32 pid = BPF_CORE_READ(task, tgid);
	bool wanted;

	if (known && known->pid == pid && (known->wanted || !settings.filter))
		return false;
	wanted = is_target(pid);
	/* of several processes with one socket a target is the one that counts */
	if (known && !wanted && (known->wanted || claim == HOLDS || known->pid == pid))
		return false;
	if (known && known->wanted && claim == HOLDS)
		return false;
	BPF_CORE_READ_STR_INTO(&comm, task, group_leader, comm);
	bpf_map_update_elem(&owners, &pid, comm, BPF_ANY);
	fresh.pid = pid;
	fresh.wanted = wanted;
	bpf_map_update_elem(&socket_owners, &key, &fresh, BPF_ANY);
	return !known;
}

static __always_inline bool is_of_internet(const struct sock *sk)
{
	__u16 family = sk->__sk_common.skc_family;

	return family == AF_INET || family == AF_INET6;
}

static __always_inline int own_socket(struct sock *sk, struct task_struct *task, enum claim claim)
{
	bool had_cookie, is_new;

	if (!is_of_internet(sk) || (BPF_CORE_READ(task, flags) & PF_KTHREAD))
		return 0;
	had_cookie = sk->__sk_common.skc_cookie.counter != 0;
	is_new = own(bpf_get_socket_cookie(sk), task, claim);
	/* packets may have come before; another tracer may have given it a cookie since */
	if (is_new && (!had_cookie || sk->sk_protocol == IP_UDP))
		own((__u64)sk, task, claim);
	return 0;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(handle_state, struct sock *sk, int before, int state)
{
	/* others are set while any process runs */
	if (state != STATE_SYN_SENT && state != STATE_LISTEN)
		return 0;
	return own_socket(sk, bpf_get_current_task_btf(), USES);
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(handle_send, struct sock *sk)
{
	return own_socket(sk, bpf_get_current_task_btf(), USES);
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(handle_receive, struct sock *sk)
{
	return own_socket(sk, bpf_get_current_task_btf(), USES);
}

/* Run by userspace: every descriptor of every process. */
SEC("iter/task_file")
int list_sockets(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct socket *socket;
	struct sock *sk;

	if (!task || !file)
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket)
		return 0;
	sk = socket->sk;
	return sk ? own_socket(sk, task, HOLDS) : 0;
}

#endif
