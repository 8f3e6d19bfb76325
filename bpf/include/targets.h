/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Whom to trace. The hot path asks one question, is_target(), which costs one
 * look-up by thread group; everything that makes a process a target happens at
 * fork, exec, exit, and when a process changes its name or moves into a cgroup.
 * A child is born into its parent's cgroups, so that of the hierarchies of
 * version 1 the moves are enough.
 */
#ifndef UNIVERSAL_TRACER_TARGETS_H
#define UNIVERSAL_TRACER_TARGETS_H

#define CGROUP_LEVELS 16
#define COMM_LENGTH 16

static __always_inline bool is_target(__u32 pid)
{
	if (pid == settings.self_pid)
		return false;
	return !settings.filter || bpf_map_lookup_elem(&targets, &pid);
}

static __always_inline void add_target(__u32 pid)
{
	__u8 present = 1;

	if (bpf_map_update_elem(&targets, &pid, &present, BPF_ANY))
		count_loss(LOSS_TARGETS);
}

static __always_inline __u32 *target_removal_count(void)
{
	__u32 first = 0;

	return bpf_map_lookup_elem(&target_removals, &first);
}

static __always_inline void remove_target(__u32 pid)
{
	__u32 *removals = target_removal_count();

	if (bpf_map_delete_elem(&targets, &pid) == 0 && removals)
		__sync_fetch_and_add(removals, 1);
}

static __always_inline bool in_target_cgroup(struct cgroup *group)
{
	struct target_cgroup key = {};

	if (group)
		key.hierarchy = BPF_CORE_READ(group, root, hierarchy_id);
	for (int level = 0; level < CGROUP_LEVELS && group; level++) {
		key.id = BPF_CORE_READ(group, kn, id);
		if (bpf_map_lookup_elem(&target_cgroups, &key))
			return true;
		/* `self` is the first member, so the parent's css is the parent cgroup */
		group = (struct cgroup *)BPF_CORE_READ(group, self.parent);
	}
	return false;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(handle_fork, struct task_struct *parent, struct task_struct *child)
{
	__u32 from = parent->tgid, pid = child->tgid;

	if (!settings.filter || from == pid)
		return 0;
	if (bpf_map_lookup_elem(&targets, &from) || in_target_cgroup(BPF_CORE_READ(child, cgroups, dfl_cgrp)))
		add_target(pid);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(handle_exec, struct task_struct *task, pid_t old_pid, struct linux_binprm *bprm)
{
	char name[NAME_LENGTH] = {};
	__u32 pid = task->tgid;

	if (!settings.filter || !settings.has_names)
		return 0;
	BPF_CORE_READ_STR_INTO(&name, task, comm);
	if (bpf_map_lookup_elem(&target_names, name)) {
		add_target(pid);
		return 0;
	}
	__builtin_memset(name, 0, sizeof(name));
	bpf_probe_read_kernel_str(name, sizeof(name), BPF_CORE_READ(bprm, file, f_path.dentry, d_name.name));
	if (bpf_map_lookup_elem(&target_names, name))
		add_target(pid);
	return 0;
}

/* A process is called like its first thread; the names of the others are their own. */
SEC("tp_btf/task_rename")
int BPF_PROG(handle_rename, struct task_struct *task, const char *comm)
{
	char name[NAME_LENGTH] = {};

	if (!settings.filter || !settings.has_names || task->pid != task->tgid)
		return 0;
	bpf_probe_read_kernel_str(name, COMM_LENGTH, comm);
	if (bpf_map_lookup_elem(&target_names, name))
		add_target(task->tgid);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(handle_exit, struct task_struct *task)
{
	if (settings.filter && BPF_CORE_READ(task, signal, live.counter) == 0)
		remove_target(task->tgid);
	return 0;
}

SEC("tp_btf/cgroup_attach_task")
int BPF_PROG(handle_cgroup_move, struct cgroup *group, const char *path, struct task_struct *task)
{
	if (settings.filter && in_target_cgroup(group))
		add_target(task->tgid);
	return 0;
}

#endif
