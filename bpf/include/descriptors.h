/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * From a call's descriptor to the socket behind it.
 */
#ifndef UNIVERSAL_TRACER_DESCRIPTORS_H
#define UNIVERSAL_TRACER_DESCRIPTORS_H

#define FILE_TYPE_BITS 0xf000
#define SOCKET_FILE 0xc000

/* Meaningful where the file is a socket. */
static __always_inline struct sock *sock_of_file(struct file *file)
{
	struct socket *socket = BPF_CORE_READ(file, private_data);

	return BPF_CORE_READ(socket, sk);
}

static __always_inline bool is_socket(struct file *file)
{
	return (BPF_CORE_READ(file, f_inode, i_mode) & FILE_TYPE_BITS) == SOCKET_FILE;
}

static __always_inline struct file *file_of_descriptor(struct task_struct *task, __u32 descriptor)
{
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file *file = NULL;

	if (descriptor < BPF_CORE_READ(table, max_fds))
		bpf_probe_read_kernel(&file, sizeof(file), BPF_CORE_READ(table, fd) + descriptor);
	return file;
}

/* The socket, or null; a number that means nothing where the file is no socket. */
static __always_inline struct sock *sock_of_descriptor(struct task_struct *task, __u32 descriptor)
{
	struct file *file = file_of_descriptor(task, descriptor);

	return file ? sock_of_file(file) : NULL;
}

#endif
