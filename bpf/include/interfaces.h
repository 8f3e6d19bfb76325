/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * --interface: connections count by their local address. Userspace keeps the
 * addresses of the chosen interfaces here, also while they change. Sockets of
 * other network namespaces have other interfaces and never count, Unix sockets
 * have no address. Without the flag the loader removes all of this.
 */
#ifndef UNIVERSAL_TRACER_INTERFACES_H
#define UNIVERSAL_TRACER_INTERFACES_H

#define MAX_LOCAL_ADDRESSES 4096

struct local_address {
	__u32 prefix_length; /* bits of the rest that count; a loopback interface has whole networks */
	__u32 interface;     /* of a link-local address; 0 of others, which one interface has alone */
	__u32 address[4];    /* IPv4 as ::ffff:a.b.c.d */
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_LOCAL_ADDRESSES);
	__type(key, struct local_address);
	__type(value, __u8);
} local_addresses SEC(".maps");

static __always_inline bool has_chosen_address(struct sock *sk)
{
	struct local_address key = {.prefix_length = 8 * (sizeof(key) - sizeof(key.prefix_length))};
	struct net *net = READ(sk, __sk_common.skc_net.net);
	__u16 family = READ(sk, __sk_common.skc_family);

	if (READ(net, ns.inum) != settings.net_namespace)
		return false;
	if (family == AF_INET) {
		key.address[2] = bpf_htonl(0xffff);
		key.address[3] = READ(sk, __sk_common.skc_rcv_saddr);
	} else if (family == AF_INET6) {
		BPF_CORE_READ_INTO((struct in6_addr *)key.address, sk, __sk_common.skc_v6_rcv_saddr);
		if ((key.address[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000))
			key.interface = READ(sk, __sk_common.skc_bound_dev_if);
	} else {
		return false;
	}
	return bpf_map_lookup_elem(&local_addresses, &key);
}

#endif
