/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Where a connection's state is kept: in its socket, or, where the adapter
 * cannot store there (adapter.h), in tables by the socket's address.
 */
#ifndef UNIVERSAL_TRACER_HTTP_STORAGE_H
#define UNIVERSAL_TRACER_HTTP_STORAGE_H

#ifdef AT_SYS_EXIT

#define MAX_CONNECTIONS 65536
#define MAX_UNIX_CONNECTIONS 8192

/* An entry goes when its socket does: handle_destroy(). */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_CONNECTIONS);
	__type(key, __u64);
	__type(value, struct connection);
} connections SEC(".maps");

/* No hook tells of a Unix socket's end: old entries make room, and an inode's number tells a later socket apart. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_UNIX_CONNECTIONS);
	__type(key, __u64);
	__type(value, struct connection);
} unix_connections SEC(".maps");

/* Connections counted from the time of the first on each CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} last_ids SEC(".maps");

static __always_inline bool is_unix(struct sock *sk)
{
	return READ(sk, __sk_common.skc_family) == AF_UNIX;
}

static __always_inline __u64 inode_of(struct sock *sk)
{
	return BPF_CORE_READ(sk, sk_socket, file, f_inode, i_ino);
}

static __always_inline struct connection *find_connection(struct sock *sk)
{
	__u64 key = (__u64)sk;
	struct connection *connection;

	if (!is_unix(sk))
		return bpf_map_lookup_elem(&connections, &key);
	connection = bpf_map_lookup_elem(&unix_connections, &key);
	return connection && connection->inode == inode_of(sk) ? connection : NULL;
}

/* The socket's cookie cannot be had: bpf_get_socket_cookie wants a typed pointer, and many sockets have none yet. */
static __always_inline __u64 next_id(void)
{
	__u32 first = 0;
	__u64 *last = bpf_map_lookup_elem(&last_ids, &first);

	if (!last)
		return 0;
	if (!*last)
		*last = bpf_ktime_get_ns() >> 10;
	return (__u64)bpf_get_smp_processor_id() << 48 | (++*last & 0xffffffffffffULL);
}

static __always_inline struct connection *make_connection(struct sock *sk)
{
	struct connection fresh = {.last_direction = NEITHER, .id = next_id()};
	__u64 key = (__u64)sk;
	bool is_other = is_unix(sk);

	if (is_other) {
		fresh.inode = inode_of(sk);
		bpf_map_update_elem(&unix_connections, &key, &fresh, BPF_ANY);
		return bpf_map_lookup_elem(&unix_connections, &key);
	}
	if (bpf_map_update_elem(&connections, &key, &fresh, BPF_ANY))
		count_loss(LOSS_STORAGE);
	return bpf_map_lookup_elem(&connections, &key);
}

/* The id of a Unix socket that nobody holds any more. */
static __always_inline __u64 id_of_dead(struct sock *sk)
{
	__u64 key = (__u64)sk;
	struct connection *connection = bpf_map_lookup_elem(&unix_connections, &key);

	return connection ? connection->id : 0;
}

SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(handle_destroy, struct sock *sk)
{
	__u64 key = (__u64)sk;

	bpf_map_delete_elem(&connections, &key);
	return 0;
}

#else

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct connection);
} connections SEC(".maps");

static __always_inline struct connection *find_connection(struct sock *sk)
{
	return bpf_sk_storage_get(&connections, sk, 0, 0);
}

static __always_inline struct connection *make_connection(struct sock *sk)
{
	struct connection *connection = bpf_sk_storage_get(&connections, sk, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (!connection) {
		count_loss(LOSS_STORAGE);
		return NULL;
	}
	connection->id = bpf_get_socket_cookie(sk);
	connection->last_direction = NEITHER;
	return connection;
}

static __always_inline __u64 id_of_dead(struct sock *sk)
{
	return sk->__sk_common.skc_cookie.counter;
}

#endif

#endif
