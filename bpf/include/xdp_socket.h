/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * The local socket that a packet comes from or goes to, and who owns it. Not for every packet: it costs more than
 * everything else that is done with one.
 */
#ifndef UNIVERSAL_TRACER_XDP_SOCKET_H
#define UNIVERSAL_TRACER_XDP_SOCKET_H

#define CURRENT_NETNS ((__u64)-1) /* the interface's */

extern void *bpf_cast_to_kern_ctx(void *ctx) __ksym __weak;
extern void *bpf_rdonly_cast(const void *object, __u32 type) __ksym __weak;

static __always_inline bool has_ports_of_sockets(const struct packet *packet)
{
	return packet->key.protocol == IP_TCP || packet->key.protocol == IP_UDP;
}

static __always_inline void take_owner(struct packet *packet, __u64 socket, enum owner_state state)
{
	struct socket_owner *owner = bpf_map_lookup_elem(&socket_owners, &socket);

	if (!owner)
		return;
	if (!owner->wanted && settings.filter && is_target(owner->pid))
		owner->wanted = 1;
	packet->owner.pid = owner->pid;
	packet->owner.wanted = owner->wanted;
	packet->owner.state = state;
}

/* A socket without a file belongs to the kernel, or is a connection that nobody has accepted yet. */
static __always_inline bool is_held(const struct sock *sk)
{
	struct socket *socket = sk->sk_socket;

	return socket && socket->file;
}

/* Who listens is not yet who accepts. */
static __always_inline void note_socket(struct packet *packet, struct bpf_sock *found)
{
	struct sock *sk = bpf_rdonly_cast(found, bpf_core_type_id_kernel(struct sock));
	__u64 cookie = sk->__sk_common.skc_cookie.counter;
	bool listens = packet->key.protocol == IP_TCP && sk->__sk_common.skc_state == STATE_LISTEN;

	if (packet->owner.state == OWNER_UNKNOWN && listens) {
		/* the connection's own socket is the one to ask for later */
		take_owner(packet, cookie, OWNER_LISTENS);
		return;
	}
	packet->owner.state = OWNER_UNKNOWN;
	packet->socket = cookie ? cookie : (__u64)sk;
	take_owner(packet, packet->socket, listens ? OWNER_LISTENS : OWNER_KNOWN);
	if (packet->owner.state == OWNER_UNKNOWN && packet->key.protocol == IP_UDP && !is_held(sk))
		packet->owner.state = OWNER_NOBODY;
}

static __always_inline struct bpf_sock *look_up(void *ctx, const struct packet *packet, bool is_listener)
{
	struct bpf_sock_tuple tuple = {};
	__u32 size = sizeof(tuple.ipv4);

	if (packet->key.family == 6) {
		size = sizeof(tuple.ipv6);
		if (!is_listener)
			__builtin_memcpy(tuple.ipv6.saddr, packet->key.remote, sizeof(tuple.ipv6.saddr));
		__builtin_memcpy(tuple.ipv6.daddr, packet->key.local, sizeof(tuple.ipv6.daddr));
		tuple.ipv6.sport = is_listener ? 0 : packet->key.remote_port;
		tuple.ipv6.dport = packet->key.local_port;
	} else {
		tuple.ipv4.saddr = is_listener ? 0 : *(__be32 *)packet->key.remote;
		tuple.ipv4.daddr = *(__be32 *)packet->key.local;
		tuple.ipv4.sport = is_listener ? 0 : packet->key.remote_port;
		tuple.ipv4.dport = packet->key.local_port;
	}
	if (packet->key.protocol == IP_UDP)
		return bpf_sk_lookup_udp(ctx, &tuple, size, CURRENT_NETNS, 0);
	return bpf_sk_lookup_tcp(ctx, &tuple, size, CURRENT_NETNS, 0);
}

static __always_inline int find_socket(void *ctx, struct packet *packet)
{
	struct bpf_sock *found;

	if (!bpf_ksym_exists(bpf_rdonly_cast))
		return 0;
	found = look_up(ctx, packet, false);
	if (!found)
		return 0;
	note_socket(packet, found);
	bpf_sk_release(found);
	if (packet->owner.state != OWNER_UNKNOWN || packet->key.protocol != IP_TCP)
		return 0;
	/* a connection that nobody has used yet belongs to who listens */
	found = look_up(ctx, packet, true);
	if (!found)
		return 0;
	note_socket(packet, found);
	bpf_sk_release(found);
	return 0;
}

__noinline int find_socket_xdp(struct xdp_md *ctx, struct packet *packet)
{
	return packet ? find_socket(ctx, packet) : 0;
}

__noinline int find_socket_tc(struct __sk_buff *ctx, struct packet *packet)
{
	return packet ? find_socket(ctx, packet) : 0;
}

/* What is no segment of TCP is sent within the call of the process that sends it. */
static __always_inline void own_sent(struct __sk_buff *ctx, struct packet *packet)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct sk_buff *skb;
	struct sock *sk;

	packet->owner.state = OWNER_NOBODY;
	if ((task->flags & PF_KTHREAD) || !bpf_ksym_exists(bpf_cast_to_kern_ctx))
		return;
	skb = bpf_cast_to_kern_ctx(ctx);
	sk = skb->sk;
	if (!sk || !is_held(sk))
		return;
	own(packet->socket, task, USES);
	take_owner(packet, packet->socket, OWNER_KNOWN);
}

__noinline int find_sender(struct __sk_buff *ctx, struct packet *packet)
{
	if (!packet)
		return 0;
	if (!ctx->sk) {
		packet->owner.state = OWNER_NOBODY; /* forwarded */
		return 0;
	}
	packet->owner.state = OWNER_UNKNOWN;
	packet->socket = bpf_get_socket_cookie(ctx);
	take_owner(packet, packet->socket, OWNER_KNOWN);
	if (packet->owner.state == OWNER_UNKNOWN && packet->key.protocol != IP_TCP)
		own_sent(ctx, packet);
	return 0;
}

/* Fills packet->owner. */
static __always_inline void find_owner(void *ctx, bool is_xdp, struct packet *packet)
{
	if (packet->fragment == FRAGMENT_LATER && !packet->key.local_port)
		return;
	packet->owner.state = OWNER_NOBODY;
	if (!is_xdp && packet->direction == EGRESS) {
		find_sender(ctx, packet);
		if (packet->owner.state != OWNER_UNKNOWN)
			return;
	}
	if (has_ports_of_sockets(packet))
		is_xdp ? find_socket_xdp(ctx, packet) : find_socket_tc(ctx, packet);
}

#endif
