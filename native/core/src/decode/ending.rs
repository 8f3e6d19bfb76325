//! How exchanges and connections end other than by a complete answer.

use crate::records::{Record, flag};

use super::connection::{Connection, Entry, Phase, RECEIVED, SENT};
use super::engine::Engine;
use super::exchange::ExchangeId;
use super::head::{self, Opening};

impl Engine {
    /// No byte follows in this direction.
    pub(super) fn end_direction(&mut self, conn: &mut Connection, dir: usize, record: &Record) {
        self.move_to_end(conn, dir, record, record.sequence);
        conn.streams[dir].ended = true;
        if first_head(conn) == Some(dir) {
            self.cut_head(conn, dir, Some("closed"));
        }
        if record.flags & flag::LOST != 0
            && let Some(requests) = conn.requests_from
        {
            self.drop_counted(conn, 1 - requests);
        }
        match conn.requests_from {
            Some(requests) if requests == dir => self.end_requests(conn, dir, "closed"),
            Some(_) => self.end_answers(conn, dir, record.time_ns, "closed"),
            None => {}
        }
        let stream = &mut conn.streams[dir];
        if stream.phase != Phase::Tunnel && !stream.in_message {
            stream.phase = Phase::Ended;
        }
    }

    /// The final sequence of a direction tells what was not seen before it.
    fn move_to_end(&mut self, conn: &mut Connection, dir: usize, record: &Record, sequence: u32) {
        let stream = &mut conn.streams[dir];
        if !stream.anchored || stream.ended {
            return;
        }
        let ahead = stream.ahead(sequence);
        if stream.phase == Phase::Tunnel || conn.ignored {
            // everything since the advice went unseen: more than half the range is possible
            stream.position += u64::from(ahead.cast_unsigned()) * u64::from(ahead >= 0);
        } else if ahead > 0 {
            self.gap(conn, dir, record, u64::from(ahead.unsigned_abs()));
        }
    }

    /// A request that is under way is cut off; an answer may still come.
    fn end_requests(&mut self, conn: &mut Connection, dir: usize, error: &'static str) {
        let stream = &conn.streams[dir];
        match stream.phase {
            Phase::Head => {
                self.cut_head(conn, dir, Some(error));
            }
            Phase::Fixed { .. } | Phase::Chunked(_) => {
                if let Some(exchange) = stream.exchange.and_then(|id| self.exchanges.get(id)) {
                    exchange.fail(error);
                }
            }
            _ => {}
        }
        let stream = &mut conn.streams[dir];
        let position = stream.position;
        if std::mem::take(&mut stream.in_message)
            && let Some(exchange) = stream.exchange.and_then(|id| self.exchanges.get(id))
        {
            exchange.request_end.get_or_insert(position);
        }
    }

    /// The answer under way is over, and no other will come.
    fn end_answers(&mut self, conn: &mut Connection, dir: usize, end_ns: u64, error: &'static str) {
        let last_ns = conn.streams[dir].last_ns;
        match conn.streams[dir].phase {
            Phase::UntilEnd if error == "closed" => self.finish_response(conn, dir, last_ns),
            Phase::Tunnel if error == "closed" => return,
            Phase::Lost if conn.streams[dir].in_message && error == "closed" => {
                self.finish_lost(conn, dir)
            }
            Phase::Head => {
                self.cut_head(conn, dir, Some(error));
                self.finish_response(conn, dir, end_ns);
            }
            _ if conn.streams[dir].in_message => {
                if !conn.streams[dir].unmatched {
                    self.fail_front(conn, error);
                }
                self.finish_response(conn, dir, end_ns);
            }
            _ => {}
        }
        while let Some(entry) = conn.open.pop_front() {
            self.end_entry(conn, entry, Some(end_ns), error);
        }
    }

    fn end_entry(
        &mut self,
        conn: &Connection,
        entry: Entry,
        end_ns: Option<u64>,
        error: &'static str,
    ) {
        if let Entry::Request {
            exchange: Some(id), ..
        } = entry
            && let Some(exchange) = self.exchanges.get(id)
        {
            exchange.fail(error);
            self.emit(conn, id, end_ns, 0);
        }
    }

    /// Whether records before this RECORD_CLOSE seem to be still on their way.
    pub(super) fn awaits_records(&self, conn: &Connection, close: &Record) -> bool {
        let missing = |dir: usize, sequence: u32| {
            let stream = &conn.streams[dir];
            let may_miss = stream.anchored
                && !stream.ended
                && !stream.is_skipping()
                && stream.phase != Phase::Tunnel;
            may_miss && stream.ahead(sequence) > 0
        };
        !conn.ignored
            && (conn.has_held() || missing(SENT, close.sequence) || missing(RECEIVED, close.length))
    }

    /// The connection is gone: what is open ends with it.
    pub(super) fn close(&mut self, conn: &mut Connection, record: &Record) {
        self.release(conn, u64::MAX);
        self.move_to_end(conn, SENT, record, record.sequence);
        self.move_to_end(conn, RECEIVED, record, record.length);
        let error = if record.flags & flag::RESET != 0 {
            "reset"
        } else {
            "closed"
        };
        if let Some(dir) = first_head(conn) {
            self.cut_head(conn, dir, Some(error));
        }
        if let Some(requests) = conn.requests_from.filter(|_| !conn.ignored) {
            let answers = 1 - requests;
            if record.flags & flag::LOST != 0 {
                self.drop_counted(conn, answers);
            }
            self.end_requests(conn, requests, error);
            if conn.streams[answers].phase == Phase::Tunnel {
                self.end_tunnel(conn, answers, record, error);
            }
            self.end_answers(conn, answers, record.time_ns, error);
        }
        if conn.spoke {
            self.emit_connection(conn, Some(record));
        }
        self.forget(conn);
    }

    /// What left HTTP lives as long as its connection.
    fn end_tunnel(
        &mut self,
        conn: &mut Connection,
        answers: usize,
        record: &Record,
        error: &'static str,
    ) {
        if error == "reset" {
            self.fail_front(conn, error);
        }
        let requests = 1 - answers;
        let position = conn.streams[requests].position;
        if let Some(Entry::Request {
            exchange: Some(id), ..
        }) = conn.open.front()
            && let Some(exchange) = self.exchanges.get(*id)
        {
            exchange.request_end = Some(position);
        }
        self.finish_response(conn, answers, record.time_ns);
    }

    /// The kernel left the rest of what was open out: it makes no event.
    fn drop_counted(&mut self, conn: &mut Connection, answers: usize) {
        if conn.streams[answers].in_message {
            self.drop_front(conn, answers);
        } else {
            for entry in conn.open.drain(..) {
                if let Entry::Request {
                    exchange: Some(id), ..
                } = entry
                {
                    self.lose(id);
                }
            }
        }
    }

    /// The kernel had no room for the rest of this exchange: it makes no event and is counted.
    pub(super) fn lose(&mut self, id: ExchangeId) {
        self.losses.ring_full += 1;
        self.exchanges.end(id);
    }

    /// The run ends: what is still open is told as far as it was seen.
    pub(super) fn end_run(&mut self, conn: &mut Connection) {
        let mut seen = answered_until(conn);
        while let Some(entry) = conn.open.pop_front() {
            if let Entry::Request {
                exchange: Some(id), ..
            } = entry
                && let Some(exchange) = self.exchanges.get(id)
            {
                if !exchange.streaming {
                    exchange.fail("truncated");
                }
                self.emit(conn, id, None, seen);
            }
            seen = 0;
        }
    }

    /// Ends requests that made no progress for the time-out. Returns when the next one is due.
    pub(super) fn time_out(&mut self, conn: &mut Connection, now_ns: u64) -> Option<u64> {
        self.time_out_first_head(conn, now_ns);
        let requests = conn.requests_from?;
        let asking = &conn.streams[requests];
        let asked_ns = asking.last_ns.saturating_add(self.correlation_timeout_ns);
        if asking.phase == Phase::Head && asked_ns <= now_ns {
            self.cut_head(conn, requests, Some("timeout"));
        } else if asking.in_message && asking.is_skipping() {
            return None;
        }
        if conn.streams[1 - requests].in_message && self.lives_on(conn, 1 - requests) {
            return None;
        }
        let mut next = None;
        for place in 0..conn.open.len() {
            let Some(Entry::Request {
                exchange: Some(id),
                time_ns,
                ..
            }) = conn.open.get(place).copied()
            else {
                continue;
            };
            let asking = &conn.streams[requests];
            let uploaded_ns = if asking.exchange == Some(id) {
                asking.last_ns
            } else {
                0
            };
            let progress_ns = time_ns
                .max(conn.streams[1 - requests].last_ns)
                .max(uploaded_ns);
            let due_ns = progress_ns.saturating_add(self.correlation_timeout_ns);
            if due_ns > now_ns {
                next = Some(next.map_or(due_ns, |next: u64| next.min(due_ns)));
            } else if place == 0 && self.is_lost_within(conn, 1 - requests) {
                self.finish_lost(conn, 1 - requests);
                return Some(now_ns);
            } else {
                self.end_timed_out(conn, place);
            }
        }
        next
    }

    /// The head of a connection's first request never ends.
    fn time_out_first_head(&mut self, conn: &mut Connection, now_ns: u64) {
        let is_old = |last_ns: u64| last_ns.saturating_add(self.correlation_timeout_ns) <= now_ns;
        if let Some(dir) = first_head(conn).filter(|&dir| is_old(conn.streams[dir].last_ns)) {
            self.cut_head(conn, dir, Some("timeout"));
        }
    }

    /// Whether the answer under way may go on without bytes that we see.
    fn lives_on(&mut self, conn: &Connection, answers: usize) -> bool {
        let stream = &conn.streams[answers];
        let front = match conn.open.front() {
            Some(&Entry::Request {
                exchange: Some(id), ..
            }) => self.exchanges.get(id),
            _ => None,
        };
        stream.is_skipping()
            || stream.phase == Phase::Tunnel
            || front.is_some_and(|exchange| exchange.streaming)
    }

    /// The event goes out; the place in the queue stays, for an answer that comes too late.
    fn end_timed_out(&mut self, conn: &mut Connection, place: usize) {
        let Some(Entry::Request { exchange, .. }) = conn.open.get_mut(place) else {
            return;
        };
        if let Some(id) = exchange.take()
            && let Some(exchange) = self.exchanges.get(id)
        {
            exchange.fail("timeout");
            let seen = if place == 0 { answered_until(conn) } else { 0 };
            self.emit(conn, id, None, seen);
        }
    }
}

/// Direction of a partial request head on a connection of which nothing else is known.
fn first_head(conn: &Connection) -> Option<usize> {
    let begins = |dir: &usize| {
        let stream = &conn.streams[*dir];
        stream.phase == Phase::Head && head::opening(&stream.head) == Opening::Request
    };
    [RECEIVED, SENT]
        .into_iter()
        .find(begins)
        .filter(|_| conn.requests_from.is_none())
}

/// Position of the answer's last byte that was seen.
fn answered_until(conn: &Connection) -> u64 {
    conn.requests_from
        .map_or(0, |requests| conn.streams[1 - requests].position)
}
