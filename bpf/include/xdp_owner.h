/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Whose socket a flow is, where the process can be told for sure: what a TC program sees of a connection's first
 * segment, or of a datagram, happens within the call of the process that sends it. Answers and what is sent again do
 * not, and are the same flow.
 */
#ifndef UNIVERSAL_TRACER_XDP_OWNER_H
#define UNIVERSAL_TRACER_XDP_OWNER_H

#define MAX_OWNERS 4096
#define COMM_LENGTH 16
/* Asked for, and there is none. */
#define NOBODY 0xffffffff

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_OWNERS);
	__type(key, __u32);
	__type(value, char[COMM_LENGTH]);
} owners SEC(".maps");

static __always_inline bool is_sent_by_its_owner(struct __sk_buff *skb, const struct packet *packet)
{
	if (!skb->sk)
		return false; /* forwarded */
	if (packet->key.protocol == IP_TCP)
		return (packet->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
	return packet->key.protocol == IP_UDP;
}

static __noinline void find_owner(struct flow_entry *entry)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	char comm[COMM_LENGTH] = {};
	__u32 pid = BPF_CORE_READ(task, tgid);

	if (!pid || (BPF_CORE_READ(task, flags) & PF_KTHREAD)) {
		entry->pid = NOBODY;
		return;
	}
	BPF_CORE_READ_STR_INTO(&comm, task, comm);
	bpf_map_update_elem(&owners, &pid, comm, BPF_ANY);
	entry->pid = pid;
}

#endif
