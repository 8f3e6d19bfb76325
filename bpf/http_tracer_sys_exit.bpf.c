// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/*
 * The HTTP tracer for kernels whose sockets have no hooks of their own: the same
 * handlers behind the end of every system call. See adapter.h.
 */
#define AT_SYS_EXIT
#include "http_tracer.bpf.c"
