/*
 * One io_uring operation at a time, by raw system calls: lets the test peer move bytes the way that programs on
 * io_uring do, without liburing. Built by the tests as a shared library.
 *
 * long uring_transfer(const char *operation, int fd, void *buffer, size_t length)
 *   operation: send, recv, write, read, sendmsg, recvmsg, send_zc, recv_provided, send_sqpoll, recv_sqpoll
 *   returns the bytes moved or a negative errno
 */
#include <errno.h>
#include <linux/io_uring.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { RING_ENTRIES = 8, BUFFER_GROUP = 7, SQ_IDLE_MS = 50 };

struct ring {
	int fd;
	unsigned setup_flags;
	unsigned *sq_tail, *sq_mask, *sq_array, *sq_flags;
	unsigned *cq_head, *cq_tail, *cq_mask;
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqes;
};

static struct ring plain = { .fd = -1 };
static struct ring polled = { .fd = -1, .setup_flags = IORING_SETUP_SQPOLL };

static int ring_open(struct ring *ring)
{
	struct io_uring_params params = { .flags = ring->setup_flags, .sq_thread_idle = SQ_IDLE_MS };
	char *sq, *cq;

	if (ring->fd >= 0)
		return 0;
	ring->fd = (int)syscall(__NR_io_uring_setup, RING_ENTRIES, &params);
	if (ring->fd < 0)
		return -errno;
	sq = mmap(NULL, params.sq_off.array + params.sq_entries * sizeof(unsigned), PROT_READ | PROT_WRITE,
		  MAP_SHARED | MAP_POPULATE, ring->fd, IORING_OFF_SQ_RING);
	cq = mmap(NULL, params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe),
		  PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->fd, IORING_OFF_CQ_RING);
	ring->sqes = mmap(NULL, params.sq_entries * sizeof(struct io_uring_sqe), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_POPULATE, ring->fd, IORING_OFF_SQES);
	if (sq == MAP_FAILED || cq == MAP_FAILED || ring->sqes == MAP_FAILED)
		return -ENOMEM;
	ring->sq_tail = (unsigned *)(sq + params.sq_off.tail);
	ring->sq_mask = (unsigned *)(sq + params.sq_off.ring_mask);
	ring->sq_array = (unsigned *)(sq + params.sq_off.array);
	ring->sq_flags = (unsigned *)(sq + params.sq_off.flags);
	ring->cq_head = (unsigned *)(cq + params.cq_off.head);
	ring->cq_tail = (unsigned *)(cq + params.cq_off.tail);
	ring->cq_mask = (unsigned *)(cq + params.cq_off.ring_mask);
	ring->cqes = (struct io_uring_cqe *)(cq + params.cq_off.cqes);
	return 0;
}

static struct io_uring_sqe *ring_next(struct ring *ring)
{
	unsigned index = *ring->sq_tail & *ring->sq_mask;
	struct io_uring_sqe *sqe = &ring->sqes[index];

	memset(sqe, 0, sizeof(*sqe));
	ring->sq_array[index] = index;
	return sqe;
}

static void ring_submit(struct ring *ring)
{
	unsigned flags = IORING_ENTER_GETEVENTS, submit = 1;

	atomic_store_explicit((_Atomic unsigned *)ring->sq_tail, *ring->sq_tail + 1, memory_order_release);
	if (ring->setup_flags & IORING_SETUP_SQPOLL) {
		submit = 0;
		if (atomic_load((_Atomic unsigned *)ring->sq_flags) & IORING_SQ_NEED_WAKEUP)
			flags |= IORING_ENTER_SQ_WAKEUP;
	}
	while (syscall(__NR_io_uring_enter, ring->fd, submit, 1, flags, NULL, 0) < 0 && errno == EINTR)
		submit = 0;
}

/* Waits for the next completion, takes it off the ring and returns its result. */
static long ring_completion(struct ring *ring, unsigned *flags)
{
	const struct io_uring_cqe *cqe;
	unsigned head = *ring->cq_head;
	long result;

	while (atomic_load_explicit((_Atomic unsigned *)ring->cq_tail, memory_order_acquire) == head)
		syscall(__NR_io_uring_enter, ring->fd, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0);
	cqe = &ring->cqes[head & *ring->cq_mask];
	result = cqe->res;
	*flags = cqe->flags;
	atomic_store_explicit((_Atomic unsigned *)ring->cq_head, head + 1, memory_order_release);
	return result;
}

/* Hands the caller's buffer to the kernel, which then chooses it for the receive by itself. */
static long provide_buffer(struct ring *ring, void *buffer, size_t length)
{
	struct io_uring_sqe *sqe = ring_next(ring);
	unsigned flags;

	sqe->opcode = IORING_OP_PROVIDE_BUFFERS;
	sqe->fd = 1;
	sqe->addr = (uintptr_t)buffer;
	sqe->len = (unsigned)length;
	sqe->buf_group = BUFFER_GROUP;
	ring_submit(ring);
	return ring_completion(ring, &flags);
}

static int opcode_of(const char *operation)
{
	static const struct {
		const char *name;
		int opcode;
	} known[] = {
		{ "send", IORING_OP_SEND },	   { "recv", IORING_OP_RECV },
		{ "write", IORING_OP_WRITE },	   { "read", IORING_OP_READ },
		{ "sendmsg", IORING_OP_SENDMSG },  { "recvmsg", IORING_OP_RECVMSG },
		{ "send_zc", IORING_OP_SEND_ZC },  { "recv_provided", IORING_OP_RECV },
		{ "send_sqpoll", IORING_OP_SEND }, { "recv_sqpoll", IORING_OP_RECV },
	};

	for (unsigned i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (!strcmp(operation, known[i].name))
			return known[i].opcode;
	return -1;
}

long uring_transfer(const char *operation, int fd, void *buffer, size_t length)
{
	struct ring *ring = strstr(operation, "_sqpoll") ? &polled : &plain;
	struct iovec vector = { .iov_base = buffer, .iov_len = length };
	struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1 };
	int opcode = opcode_of(operation), provided = !strcmp(operation, "recv_provided");
	struct io_uring_sqe *sqe;
	long error = ring_open(ring), moved;
	unsigned flags;

	if (error)
		return error;
	if (opcode < 0)
		return -EINVAL;
	if (provided && (error = provide_buffer(ring, buffer, length)) < 0)
		return error;
	sqe = ring_next(ring);
	sqe->opcode = (unsigned char)opcode;
	sqe->fd = fd;
	sqe->addr = provided ? 0 : (uintptr_t)buffer;
	sqe->len = (unsigned)length;
	if (opcode == IORING_OP_READ || opcode == IORING_OP_WRITE)
		sqe->off = (uint64_t)-1;
	if (opcode == IORING_OP_SENDMSG || opcode == IORING_OP_RECVMSG) {
		sqe->addr = (uintptr_t)&message;
		sqe->len = 1;
	}
	if (provided) {
		sqe->flags = IOSQE_BUFFER_SELECT;
		sqe->buf_group = BUFFER_GROUP;
	}
	ring_submit(ring);
	moved = ring_completion(ring, &flags);
	if (flags & IORING_CQE_F_MORE) /* zero copy: the second completion says that the buffer is free */
		ring_completion(ring, &flags);
	return moved;
}
