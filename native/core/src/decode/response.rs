//! Answers: which request they belong to, what body follows, and when they end.

use crate::records::Record;

use super::connection::{Body, Connection, Entry, MethodKind, Phase};
use super::engine::Engine;
use super::exchange::ExchangeId;
use super::fields::Notes;
use super::head::{Side, StatusLine};
use super::request::HeadFault;

/// The request that an answer belongs to.
#[derive(Clone, Copy, Debug)]
struct Asked {
    exchange: Option<ExchangeId>,
    kind: MethodKind,
    matched: bool,
}

impl Engine {
    /// An answer's head is at hand in `self.reader`; says what body follows. `None`: the answer
    /// is only an interim one, or the connection left HTTP.
    pub(super) fn response_head(
        &mut self,
        conn: &mut Connection,
        dir: usize,
        head: &[u8],
        line: StatusLine,
        fault: HeadFault,
    ) -> Option<Body> {
        let first_ns = conn.streams[dir].first.time_ns;
        let asked = self.find_asked(conn, first_ns);
        let start = conn.streams[dir].start;
        if matches!(line.status, 100 | 102..=199) && fault == HeadFault::None {
            if let Some(exchange) = asked.exchange.and_then(|id| self.exchanges.get(id)) {
                exchange.response_start.get_or_insert(start);
            }
            return None;
        }
        let stream = &mut conn.streams[dir];
        stream.in_message = true;
        stream.unmatched = !asked.matched;
        let text = self.reader.text(head, Side::Response);
        let id = asked
            .exchange
            .filter(|&id| self.exchanges.get(id).is_some());
        let exchange = self.exchanges.get_or(id, &mut self.spare);
        exchange.clear_response_fields();
        exchange.status = Some(line.status);
        exchange.answered_ns = Some(first_ns);
        exchange.response_start.get_or_insert(start);
        let notes = self.reader.store_answer(&text, &mut exchange.response);
        let leaves =
            line.status == 101 || (asked.kind == MethodKind::Connect && line.status / 100 == 2);
        exchange.note_answer(&notes, self.max_payload_capture > 0);
        exchange.note_fault(notes.spoils_answer(), notes.cut, fault);
        exchange.streaming |= leaves;
        id.into_iter().for_each(|id| self.exchanges.recount(id));
        self.exchanges.make_room(self.budgets.open_requests);
        self.settle_request(conn, 1 - dir, leaves);
        Some(match (leaves, notes.spoils_answer()) {
            (true, _) => Body::Leaves,
            (false, true) => Body::Unknown,
            _ => response_body(asked.kind, line.status, &notes),
        })
    }

    /// The final answer tells what follows a request that asked to leave HTTP.
    fn settle_request(&mut self, conn: &mut Connection, requests: usize, leaves: bool) {
        if leaves {
            conn.streams
                .iter_mut()
                .for_each(|stream| stream.phase = Phase::Tunnel);
            self.advise_off(conn);
            return;
        }
        match conn.streams[requests].phase {
            Phase::Undecided => conn.streams[requests].phase = Phase::Idle,
            // too much came before the answer to be held back
            Phase::Tunnel => conn.streams[requests].phase = Phase::Lost,
            _ => {}
        }
    }

    /// The request that an answer beginning at `first_ns` belongs to; it stays in the queue.
    fn find_asked(&mut self, conn: &mut Connection, first_ns: u64) -> Asked {
        let nobody = Asked {
            exchange: None,
            kind: MethodKind::Usual,
            matched: false,
        };
        while conn.open.front().is_some_and(Entry::is_unseen) {
            // answers to requests that were not seen come before the next one that was
            match conn.open.get(1) {
                Some(&Entry::Request { time_ns, .. }) if first_ns >= time_ns => {
                    conn.open.pop_front()
                }
                Some(Entry::Unseen { .. }) => conn.open.pop_front(),
                _ => return nobody,
            };
        }
        match conn.open.front() {
            Some(&Entry::Request { time_ns, .. }) if conn.uncertain && first_ns < time_ns => nobody,
            Some(&Entry::Request { exchange, kind, .. }) => Asked {
                exchange,
                kind,
                matched: true,
            },
            _ => nobody,
        }
    }

    /// The answer under way is complete.
    pub(super) fn finish_response(
        &mut self,
        conn: &mut Connection,
        dir: usize,
        end_ns: impl Into<Option<u64>>,
    ) {
        let stream = &mut conn.streams[dir];
        stream.phase = Phase::Idle;
        stream.has_gap = false;
        stream.chunks_lost = false;
        stream.skip_until = None;
        if !std::mem::take(&mut stream.in_message) || std::mem::take(&mut stream.unmatched) {
            return;
        }
        let end = stream.position;
        if let Some(Entry::Request {
            exchange: Some(id), ..
        }) = conn.open.pop_front()
        {
            if let Some(exchange) = self.exchanges.get(id) {
                exchange.response_body.whole = !exchange.response_body.cut;
            }
            self.emit(conn, id, end_ns.into(), end);
        }
        if conn.open.is_empty() {
            conn.uncertain &= conn
                .streams
                .iter()
                .any(|stream| stream.phase == Phase::Lost);
        }
    }

    /// Whether the present answer's end cannot be seen any more.
    pub(super) fn is_lost_within(&self, conn: &Connection, dir: usize) -> bool {
        conn.streams[dir].phase == Phase::Lost && conn.streams[dir].in_message
    }

    /// Ends an answer whose end was not seen: it ended with the last byte that came.
    pub(super) fn finish_lost(&mut self, conn: &mut Connection, dir: usize) {
        if conn.streams[dir].has_gap {
            self.fail_front(conn, "truncated");
        }
        let last_ns = conn.streams[dir].last_ns;
        self.finish_response(conn, dir, last_ns);
        conn.streams[dir].phase = Phase::Lost;
    }

    pub(super) fn fail_front(&mut self, conn: &Connection, error: &'static str) {
        if let Some(Entry::Request {
            exchange: Some(id), ..
        }) = conn.open.front()
            && let Some(exchange) = self.exchanges.get(*id)
        {
            exchange.fail(error);
        }
    }

    /// Something came where an answer was to begin, and is none.
    pub(super) fn malformed_response(
        &mut self,
        conn: &mut Connection,
        dir: usize,
        record: &Record,
    ) {
        let stream = &mut conn.streams[dir];
        let start = stream.start;
        stream.phase = Phase::Lost;
        let asked = self.find_asked(conn, record.time_ns);
        if !asked.matched {
            return;
        }
        if let Some(exchange) = asked.exchange.and_then(|id| self.exchanges.get(id)) {
            exchange.response_start.get_or_insert(start);
            exchange.fail("malformed");
        }
        conn.streams[dir].in_message = true;
        self.finish_response(conn, dir, record.time_ns);
        conn.streams[dir].phase = Phase::Lost;
    }
}

/// RFC 9112, 6.3, for answers.
fn response_body(kind: MethodKind, status: u16, notes: &Notes) -> Body {
    match notes.content_length {
        _ if kind == MethodKind::Head || matches!(status, 204 | 304) => Body::None,
        _ if notes.chunked => Body::Chunked,
        _ if notes.coded => Body::UntilEnd,
        Some(0) => Body::None,
        Some(length) => Body::Length(length),
        None => Body::UntilEnd,
    }
}
