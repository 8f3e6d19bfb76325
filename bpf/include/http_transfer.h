/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* An operation that moved bytes: where they are, whether they are worth a record, and the record. */
#ifndef UNIVERSAL_TRACER_HTTP_TRANSFER_H
#define UNIVERSAL_TRACER_HTTP_TRANSFER_H

/* What knows of an operation's bytes, where no socket hook has fired: one of the two. */
struct source {
	struct pt_regs *regs;
	struct io_kiocb *request;
};

static __always_inline bool find_buffer(struct operation *operation, struct task_struct *task, struct source source)
{
	struct user_buffer *buffer = &operation->buffer;

#ifdef AT_SYS_EXIT
	buffer->is_messages = 0;
	if (source.request)
		return find_uring_buffer(source.request, buffer);
	return find_user_buffer(source.regs, task, operation->length, buffer);
#else
	return !(task->flags & PF_KTHREAD) &&
	       find_user_buffer(present_registers(task), task, operation->length, buffer);
#endif
}

/* Finds the operation's bytes and how many of them are worth copying. */
static __always_inline void locate(struct operation *operation, struct connection *connection,
				   struct task_struct *task, struct source source)
{
	__u32 direction = operation->direction & 1, want = operation->length;

	if (connection->last_direction != direction || connection->pipelined) {
		connection->last_direction = direction;
		connection->budget[direction] = settings.head_bytes;
	}
	if (want > settings.capture_bytes)
		want = settings.capture_bytes;
	if (want > connection->budget[direction])
		want = connection->budget[direction];
	operation->buffer.base = operation->buffer.iovecs = operation->buffer.iovec_count = 0;
	if (!find_buffer(operation, task, source))
		want = 0;
	operation->want = want;
}

static __always_inline void capture(struct scratch *scratch, __u32 want)
{
	struct operation *operation = &scratch->operation;

	operation->captured = want ? copy_user_buffer(scratch, scratch_of(operation->direction), want) : 0;
	if (operation->captured < want)
		count_loss(LOSS_READ_FAULT);
}

/* A few bytes suffice where the operation may not be recorded after all. */
static __always_inline __u32 bytes_to_judge_by(const struct operation *operation, const struct connection *connection)
{
	bool may_stop = !connection->announced || settings.sample_below <= 0xffffffff;

	return may_stop && operation->want > PEEK_BYTES ? PEEK_BYTES : operation->want;
}

static __always_inline void describe_operation(struct scratch *scratch, struct connection *connection,
						struct tcp_sock *tcp, struct task_struct *task)
{
	begin_record(scratch, connection, RECORD_DATA);
	name_task(&scratch->record, connection, task);
	scratch->record.sequence = scratch->operation.sequence;
	scratch->record.flags = connection->pending | (scratch->operation.direction == SENT ? RECORD_SENT : 0);
	if (tcp)
		read_tcp_figures(&scratch->record, tcp);
}

static __always_inline void record_operation(struct scratch *scratch, struct connection *connection, struct sock *sk,
					     struct tcp_sock *tcp, struct task_struct *task)
{
	struct operation *operation = &scratch->operation;

	if (!connection->announced) {
		if (!announce(scratch, connection, sk, task))
			return;
		operation->captured = 0; /* announce() used the buffer */
	}
	if (operation->captured < operation->want)
		capture(scratch, operation->want);
	connection->budget[operation->direction & 1] -= operation->captured;
	describe_operation(scratch, connection, tcp, task);
	emit_operation(scratch, connection);
}

#ifndef AT_SYS_EXIT

/* Leaves the operation to handle_uring_complete(), which knows its buffer. */
static __always_inline void defer_operation(struct scratch *scratch, struct connection *connection, struct sock *sk,
					    struct tcp_sock *tcp, struct task_struct *task)
{
	struct uring_key key = {(__u64)sk, task->pid, scratch->operation.direction};
	struct uring_operation waiting = {};

	if (!judge_unseen(connection, scratch->operation.direction))
		return;
	if (!connection->announced && !announce(scratch, connection, sk, task))
		return;
	describe_operation(scratch, connection, tcp, task);
	connection->pending = 0;
	waiting.record = scratch->record;
	waiting.record.length = scratch->operation.length;
	waiting.want = waiting.record.length < settings.capture_bytes ? waiting.record.length : settings.capture_bytes;
	bpf_map_update_elem(&uring_operations, &key, &waiting, BPF_ANY);
}

#endif

static __always_inline void handle_transfer(struct sock *sk, __u32 length, enum direction direction, bool is_tcp,
					    struct source source)
{
	struct task_struct *task = present_task();
	struct connection *connection;
	struct scratch *scratch;
	struct tcp_sock *tcp;
	__u32 end;

	connection = get_connection(sk, READ(task, tgid));
	if (!connection)
		return;
	count_hit(HIT_OPERATIONS);
	if (connection->policy == POLICY_OFF)
		return;
	if (!is_tcp)
		connection->next[direction & 1] += length;
	if (is_left_out(connection, direction) &&
	    (connection->verdict != VERDICT_LOSE || direction != connection->request_direction))
		return;
	tcp = is_tcp ? AS(tcp_sock, sk) : NULL;
	end = end_sequence(tcp, connection, direction);
	scratch = get_scratch(scratch_of(direction));
	if (!scratch || advised_to_skip(connection, direction, end))
		return;
	scratch->operation.length = length;
	scratch->operation.direction = direction;
	scratch->operation.sequence = end - length;
#ifndef AT_SYS_EXIT
	if (is_uring_operation(task, sk)) {
		defer_operation(scratch, connection, sk, tcp, task);
		return;
	}
#endif
	locate(&scratch->operation, connection, task, source);
	if (connection->verdict == VERDICT_LOSE && !connection->answered) { /* a pipeline goes on */
		capture(scratch, scratch->operation.want);
		count_if_request(connection, direction, scratch->data, scratch->operation.captured);
		return;
	}
	capture(scratch, bytes_to_judge_by(&scratch->operation, connection));
	/* behind an interim answer the request goes on: nothing new begins */
	if (direction != connection->request_direction && is_interim(scratch->data, scratch->operation.captured))
		connection->answered = 0;
	if (classify(connection, direction, scratch->data, scratch->operation.captured))
		record_operation(scratch, connection, sk, tcp, task);
	else
		disappoint(connection);
}

#endif
