//! Events: rows of columns from exchanges and connections.

use crate::columns::{ConnectionRow, HttpRow, TcpRow, ascii_text};
use crate::records::Record;

use super::connection::{Connection, Entry, RECEIVED, SENT};
use super::engine::Engine;
use super::exchange::{Authority, BodyCapture, Exchange, ExchangeId, Span};
use super::privacy::Privacy;

/// Rows after which the columns' size is looked at again.
const ROWS_BETWEEN_LOOKS: usize = 32;

impl Engine {
    /// Writes the exchange's event and ends it. `end_ns`: when the exchange ended at this socket, if
    /// it did; `end`: position behind the answer's last byte (0: there was no answer).
    pub(super) fn emit(
        &mut self,
        conn: &Connection,
        id: ExchangeId,
        end_ns: Option<u64>,
        end: u64,
    ) {
        if self.http.rows().is_multiple_of(ROWS_BETWEEN_LOOKS)
            && self.http.bytes() > self.budgets.columns
        {
            self.losses.batch += 1;
            return self.exchanges.end(id);
        }
        let requests = conn.requests_from.unwrap_or(RECEIVED);
        let asked_until = conn.streams[requests].position;
        let Some(exchange) = self.exchanges.get(id) else {
            return;
        };
        let [request_body, response_body] = &mut self.bodies;
        let limit = self.max_payload_capture;
        let has_request_body = mask_body(
            &exchange.request_body,
            &mut self.reader.privacy,
            limit,
            request_body,
        );
        let has_response_body = mask_body(
            &exchange.response_body,
            &mut self.reader.privacy,
            limit,
            response_body,
        );
        let exchange = &*exchange;
        let first = &exchange.first;
        let duration_ms = |until_ns: u64| until_ns.saturating_sub(first.time_ns) as f64 / 1e6;
        let mut comm = [0; COMM_TEXT];
        let mut suffix = [0; SUFFIX];
        let mut span_id = [0; 16];
        let line = |span: Option<Span>| span.map(|span| span.of(&exchange.line));
        let is_traced = exchange.trace.is_known();
        self.http.push(&HttpRow {
            timestamp_ns: first
                .time_ns
                .cast_signed()
                .saturating_add(self.unix_minus_monotonic_ns),
            pid: (first.pid != 0).then_some(first.pid),
            tid: (first.tid != 0).then_some(first.tid),
            comm: comm_text(&first.comm, &mut comm),
            protocol: exchange.version.name(),
            role: conn.role(),
            method: line(exchange.method),
            path: line(exchange.path),
            query: line(exchange.query),
            route: line(exchange.route),
            authority: match exchange.authority {
                Authority::Unknown => None,
                Authority::InLine(span) => Some(span.of(&exchange.line)),
                Authority::InHost(span) => Some(span.of(&exchange.request.values)),
            },
            status: exchange.status,
            latency_ms: end_ns.map(duration_ms),
            ttfb_ms: exchange.answered_ns.map(duration_ms),
            request_bytes: exchange
                .request_end
                .unwrap_or(asked_until)
                .saturating_sub(exchange.request_start),
            response_bytes: exchange
                .response_start
                .map_or(0, |start| end.saturating_sub(start)),
            streaming: exchange.streaming,
            local: conn.local(),
            peer: conn.peer(),
            connection_id: conn.id_text(),
            request_suffix: request_suffix(exchange.request_start as u32, &mut suffix),
            trace_id: is_traced.then_some(&exchange.trace.trace_id),
            span_id: is_traced.then(|| write_hex(self.span_ids.next(), &mut span_id)),
            parent_span_id: Some(exchange.trace.parent_span_id.as_str())
                .filter(|id| is_traced && !id.is_empty()),
            request_headers: exchange.has_request_fields.then_some(&exchange.request),
            response_headers: exchange.has_response_fields.then_some(&exchange.response),
            request_body: has_request_body.then_some(request_body),
            response_body: has_response_body.then_some(response_body),
            user_agent: exchange
                .user_agent
                .map(|span| span.of(&exchange.request.values)),
            content_type: exchange
                .content_type
                .map(|span| span.of(&exchange.response.values)),
            error: exchange.error,
            tcp: tcp(conn, exchange),
        });
        self.exchanges.end(id);
    }

    /// Writes a connection's `open` event, or `close` where its last record is given.
    pub(super) fn emit_connection(&mut self, conn: &Connection, closed: Option<&Record>) {
        let owner = &conn.owner;
        let started_ns = conn.opened_ns.unwrap_or(conn.first_ns);
        let mut comm = [0; COMM_TEXT];
        let bytes = |dir: usize| closed.map(|_| conn.streams[dir].bytes());
        let duration_ns =
            closed.and_then(|record| Some(record.time_ns.saturating_sub(conn.opened_ns?)));
        self.connections.push(&ConnectionRow {
            timestamp_ns: closed
                .map_or(started_ns, |record| record.time_ns)
                .cast_signed()
                .saturating_add(self.unix_minus_monotonic_ns),
            pid: (owner.pid != 0).then_some(owner.pid),
            tid: (owner.tid != 0).then_some(owner.tid),
            comm: comm_text(&owner.comm, &mut comm),
            event: if closed.is_some() { "close" } else { "open" },
            role: conn.role(),
            local: conn.local(),
            peer: conn.peer(),
            connection_id: conn.id_text(),
            duration_ms: duration_ns.map(|duration| duration as f64 / 1e6),
            sent_bytes: bytes(SENT),
            received_bytes: bytes(RECEIVED),
            requests: closed.map(|_| conn.requests),
        });
    }

    /// Notes what TCP knew at this record for the exchange that is being answered.
    pub(super) fn note_tcp(&mut self, conn: &Connection, record: &Record) {
        if record.rtt_us == 0 && record.retransmits == 0 {
            return;
        }
        if let Some(Entry::Request {
            exchange: Some(id), ..
        }) = conn.open.front()
            && let Some(exchange) = self.exchanges.get(*id)
        {
            exchange.rtt_us = record.rtt_us;
            exchange.retransmits = record.retransmits;
        }
    }

    /// Adds bytes of the present body to what is shown of it.
    pub(super) fn capture(&mut self, conn: &Connection, dir: usize, bytes: &[u8]) {
        let limit = self.max_payload_capture;
        if limit > 0
            && let Some(body) = self.body(conn, dir)
        {
            body.push(bytes, limit);
        }
    }

    /// Bytes of the present body are missing: what follows is not shown.
    pub(super) fn cut_capture(&mut self, conn: &Connection, dir: usize) {
        if let Some(body) = self.body(conn, dir) {
            body.cut = true;
        }
    }

    pub(super) fn wants_body(&mut self, conn: &Connection, dir: usize) -> bool {
        let limit = self.max_payload_capture;
        self.body(conn, dir).is_some_and(|body| body.wants(limit))
    }

    fn body(&mut self, conn: &Connection, dir: usize) -> Option<&mut BodyCapture> {
        let stream = &conn.streams[dir];
        if conn.requests_from == Some(dir) {
            return self
                .exchanges
                .get(stream.exchange?)
                .map(|exchange| &mut exchange.request_body);
        }
        match conn.open.front() {
            Some(&Entry::Request {
                exchange: Some(id), ..
            }) if stream.in_message && !stream.unmatched => self
                .exchanges
                .get(id)
                .map(|exchange| &mut exchange.response_body),
            _ => None,
        }
    }
}

fn tcp(conn: &Connection, exchange: &Exchange) -> Option<TcpRow> {
    let is_told = !conn.is_unix() && exchange.rtt_us > 0;
    is_told.then(|| TcpRow {
        rtt_us: Some(exchange.rtt_us),
        retransmits: exchange
            .retransmits
            .saturating_sub(exchange.first.retransmits),
    })
}

/// Whether there is a body to show, written to `out`.
fn mask_body(body: &BodyCapture, privacy: &mut Privacy, limit: usize, out: &mut String) -> bool {
    match body.kind {
        Some(kind) if !body.bytes.is_empty() && limit > 0 => {
            privacy.mask_body(kind, &body.bytes, body.whole, limit, out);
            true
        }
        _ => false,
    }
}

/// Room for a name of 15 bytes of which each may have to be replaced.
const COMM_TEXT: usize = 48;

/// A thread's name; `None` when it is not known.
fn comm_text<'a>(comm: &'a [u8; 16], replaced: &'a mut [u8; COMM_TEXT]) -> Option<&'a str> {
    let length = comm
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(comm.len());
    if length == 0 {
        return None;
    }
    if let Some(name) = ascii_text(&comm[..length]) {
        return Some(name);
    }
    let name = String::from_utf8_lossy(&comm[..length]);
    let place = &mut replaced[..name.len()];
    place.copy_from_slice(name.as_bytes());
    str::from_utf8(place).ok()
}

const SUFFIX: usize = 9;

/// `-` and the sequence of the request's first byte: unique within a connection, and the same
/// for whoever sees the connection.
fn request_suffix(sequence: u32, text: &mut [u8; SUFFIX]) -> &str {
    text[0] = b'-';
    write_hex(u64::from(sequence), &mut text[1..]);
    ascii_text(text).unwrap_or_default()
}

fn write_hex(mut value: u64, text: &mut [u8]) -> &str {
    for digit in text.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(value & 15) as usize];
        value >>= 4;
    }
    ascii_text(text).unwrap_or_default()
}
