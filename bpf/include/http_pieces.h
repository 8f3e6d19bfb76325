/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * An operation's records: one, or several where a head is longer than a record.
 */
#ifndef UNIVERSAL_TRACER_HTTP_PIECES_H
#define UNIVERSAL_TRACER_HTTP_PIECES_H

/* The rest of an operation whose head did not fit into one record. */
struct rest {
	struct scratch *scratch;
	struct connection *connection;
	__u64 base;
	__u32 length;
};

STEP long emit_piece(__u32 index, struct rest *rest)
{
	struct scratch *scratch = rest->scratch;
	__u32 *budget = &rest->connection->budget[scratch->record.flags & RECORD_SENT];
	__u32 want = rest->length < PIECE_BYTES ? rest->length : PIECE_BYTES;

	if (want > *budget)
		want = *budget;
	barrier_var(want); /* or clang leaves out a bound that the verifier has not seen */
	if (want > CAPTURE_LIMIT || (want && bpf_probe_read_user(scratch->data, want, (void *)rest->base)))
		want = 0;
	*budget -= want;
	scratch->record.sequence += scratch->record.length;
	scratch->record.length = want ? want : rest->length;
	scratch->record.flags &= RECORD_SENT;
	if (emit(scratch, want)) {
		leave_out(rest->connection);
		return 1;
	}
	rest->base += scratch->record.length;
	rest->length -= scratch->record.length;
	return rest->length == 0;
}

/* A GET that is longer than a record: several of them, as requests with a long head are rare. */
static __always_inline bool may_hold_more_heads(struct scratch *scratch, struct connection *connection)
{
	if ((scratch->record.flags & RECORD_START) && *(__u32 *)scratch->data == FOUR('G', 'E', 'T', ' '))
		connection->pipelined = 1;
	return connection->pipelined;
}

static __always_inline void emit_operation(struct scratch *scratch, struct connection *connection)
{
	struct operation *operation = &scratch->operation;
	__u32 captured = operation->captured, length = operation->length;
	bool continues = captured && captured < length && captured == settings.capture_bytes &&
			 !operation->buffer.iovecs && connection->budget[operation->direction & 1] &&
			 (may_hold_more_heads(scratch, connection) || !holds_whole_head(scratch_of(operation->direction), captured));

	scratch->record.length = continues ? captured : length;
	if (emit(scratch, captured)) {
		count_if_request(connection, operation->direction, scratch->data, captured);
		leave_out(connection);
		return;
	}
	connection->pending = 0;
	if (continues) {
		struct rest rest = {scratch, connection, operation->buffer.base + captured, length - captured};

		repeat(MAX_PIECES, emit_piece, &rest);
	}
}

#endif
