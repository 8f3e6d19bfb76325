/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Ports of fragmented datagrams: the first fragment tells, the later ones ask.
 */
#ifndef UNIVERSAL_TRACER_XDP_FRAGMENTS_H
#define UNIVERSAL_TRACER_XDP_FRAGMENTS_H

#define FRAGMENTED_DATAGRAMS 4096

/* The ports of a fragmented datagram, from its first fragment. */
struct datagram_key {
	__u8 remote[16];
	__u8 local[16];
	__u32 id;
	__u16 interface;
	__u8 protocol;
	__u8 direction;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, FRAGMENTED_DATAGRAMS);
	__type(key, struct datagram_key);
	__type(value, __u32); /* remote and local port */
} datagrams SEC(".maps");

static __always_inline void settle_fragment(struct packet *packet)
{
	struct datagram_key key = {};
	__u32 *known, ports;

	__builtin_memcpy(key.remote, packet->key.remote, sizeof(key.remote));
	__builtin_memcpy(key.local, packet->key.local, sizeof(key.local));
	key.id = packet->datagram;
	key.interface = packet->key.interface;
	key.protocol = packet->key.protocol;
	key.direction = packet->direction;
	if (packet->fragment == FRAGMENT_FIRST) {
		ports = (__u32)packet->key.remote_port << 16 | packet->key.local_port;
		bpf_map_update_elem(&datagrams, &key, &ports, BPF_ANY);
		return;
	}
	known = bpf_map_lookup_elem(&datagrams, &key);
	if (known) {
		packet->key.remote_port = *known >> 16;
		packet->key.local_port = (__u16)*known;
	}
}

#endif
