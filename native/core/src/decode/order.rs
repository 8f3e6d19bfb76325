//! Order: records become a stream again, and what is missing is known by sequence.
//!
//! A record that begins where the one before ended is consumed at once. One that is ahead, or
//! an answer whose request has not come yet, is held back until the missing record comes or
//! a whole drain has passed; then what is missing is a gap.

use crate::records::{Record, flag, kind};

use super::chunks::Passed;
use super::connection::{Connection, Entry, Held, Origin, Phase, RECEIVED, SENT};
use super::engine::Engine;
use super::exchange::ExchangeId;
use super::head::{self, Opening};
use super::limits::{HELD_BYTES, HELD_RECORDS, LATE_OPERATIONS};

impl Engine {
    /// Takes a record that moved bytes or ended a direction.
    pub(super) fn deliver(&mut self, conn: &mut Connection, record: &Record, payload: &[u8]) {
        let dir = direction(record);
        if conn.streams[dir].held.is_empty() && self.is_due(conn, dir, record, payload) {
            self.consume(conn, dir, record, payload);
        } else {
            self.hold(conn, dir, record, payload);
        }
        if conn.has_held() {
            self.release(conn, 0);
        }
    }

    pub(super) fn hold(
        &mut self,
        conn: &mut Connection,
        dir: usize,
        record: &Record,
        payload: &[u8],
    ) {
        let stream = &mut conn.streams[dir];
        let before = |held: &Held| {
            held.record
                .sequence
                .wrapping_sub(record.sequence)
                .cast_signed()
                <= 0
        };
        let place = stream.held.partition_point(before);
        stream.held.insert(
            place,
            Held {
                record: *record,
                payload: payload.into(),
                drain: self.drain,
            },
        );
        stream.held_bytes += payload.len();
        self.buffered += payload.len();
        self.list(conn);
        let stream = &conn.streams[dir];
        let too_many = stream.held.len() > HELD_RECORDS || stream.held_bytes > HELD_BYTES;
        if too_many || self.buffered > self.budgets.buffered {
            self.release(conn, u64::MAX);
        }
    }

    /// Notes that the connection waits for the end of a drain.
    pub(super) fn list(&mut self, conn: &mut Connection) {
        if !conn.listed {
            conn.listed = true;
            self.waiting.push(conn.id);
        }
    }

    /// Consumes the held records whose turn it is; those that came before drain number
    /// `forced_before` whether it is their turn or not.
    pub(super) fn release(&mut self, conn: &mut Connection, forced_before: u64) {
        loop {
            let is_due = |dir: &usize| {
                let first = conn.streams[*dir].held.first();
                first.is_some_and(|held| self.is_due(conn, *dir, &held.record, &held.payload))
            };
            let is_forced = |dir: &usize| {
                let first = conn.streams[*dir].held.first();
                first.is_some_and(|held| held.drain < forced_before)
            };
            // requests first: they may be what the answers wait for
            let requests = conn.requests_from.unwrap_or(RECEIVED);
            let order = [requests, 1 - requests];
            let due = order.into_iter().find(is_due);
            let Some(dir) = due.or_else(|| order.into_iter().find(is_forced)) else {
                return;
            };
            let is_due = due.is_some();
            let stream = &mut conn.streams[dir];
            let held = stream.held.remove(0);
            stream.held_bytes -= held.payload.len();
            self.buffered -= held.payload.len();
            if conn.streams[dir].phase == Phase::Undecided {
                // no answer told what this is; it is not taken for HTTP
                conn.streams[dir].phase = Phase::Tunnel;
            }
            self.forcing = !is_due;
            self.consume(conn, dir, &held.record, &held.payload);
            self.forcing = false;
        }
    }

    /// Whether everything that must come before `record` has come.
    fn is_due(&self, conn: &Connection, dir: usize, record: &Record, payload: &[u8]) -> bool {
        let stream = &conn.streams[dir];
        if conn.ignored {
            return true;
        }
        let ahead = if stream.anchored {
            stream.ahead(record.sequence)
        } else {
            0
        };
        if ahead > 0 && !self.is_known_gap(conn, dir, ahead, record) {
            return false;
        }
        if record.kind == kind::END {
            return true;
        }
        match stream.phase {
            Phase::Undecided => false,
            Phase::Idle | Phase::Lost if !stream.in_message => match conn.requests_from {
                // an answer waits for its request
                Some(requests) if requests != dir && !conn.expects_answer() => {
                    stream.phase == Phase::Lost && head::opening(payload) != Opening::Response
                }
                None => head::opening(payload) != Opening::Response,
                _ => true,
            },
            _ => true,
        }
    }

    /// Whether nothing has to be waited for although `ahead` bytes were not seen.
    fn is_known_gap(&self, conn: &Connection, dir: usize, ahead: i32, record: &Record) -> bool {
        let stream = &conn.streams[dir];
        let to = stream.position + u64::from(ahead.unsigned_abs());
        match stream.phase {
            Phase::Fixed { end } if to < end => return true,
            Phase::Chunked(chunks) if chunks.data_until().is_some_and(|end| to < end) => {
                return true;
            }
            Phase::Tunnel | Phase::Ended => return true,
            _ => {}
        }
        let left_out = flag::LOST | flag::SKIPPED;
        let told = record.flags & flag::START != 0 && record.flags & left_out != 0;
        let is_answer = conn.requests_from.is_some_and(|requests| requests != dir);
        told || (is_answer && conn.open.iter().any(Entry::is_unseen))
    }

    /// Takes a record whose turn it is.
    fn consume(&mut self, conn: &mut Connection, dir: usize, record: &Record, payload: &[u8]) {
        if conn.ignored {
            return;
        }
        if record.kind == kind::END {
            return self.end_direction(conn, dir, record);
        }
        if !conn.streams[dir].anchored {
            conn.streams[dir].anchor(record.sequence);
            self.skip_unseen_answers(conn, dir, record);
        }
        let stream = &conn.streams[dir];
        let ahead = stream.ahead(record.sequence);
        let known = if ahead < 0 { ahead.unsigned_abs() } else { 0 };
        if known >= record.length {
            return;
        }
        let captured = payload.get(..record.length as usize).unwrap_or(payload);
        let captured = captured.get(known as usize..).unwrap_or_default();
        let length = u64::from(record.length - known);
        if record.flags & flag::START != 0
            && conn.requests_from.is_none_or(|requests| requests == dir)
        {
            self.note_left_out(conn, record);
        }
        if ahead > 0 {
            self.gap(conn, dir, record, u64::from(ahead.unsigned_abs()));
        }
        self.look_at_operation(conn, dir, record, captured);
        self.feed(conn, dir, record, captured, length - captured.len() as u64);
    }

    /// The kernel left exchanges out before the one that begins here.
    fn note_left_out(&mut self, conn: &mut Connection, record: &Record) {
        let counted = record.flags & flag::LOST != 0;
        if counted || record.flags & flag::SKIPPED != 0 {
            self.push_unseen(conn, counted);
        }
    }

    fn push_unseen(&mut self, conn: &mut Connection, counted: bool) {
        conn.uncertain = true;
        match conn.open.back_mut() {
            Some(Entry::Unseen { counted: known }) => *known |= counted,
            _ => conn.open.push_back(Entry::Unseen { counted }),
        }
    }

    /// An operation begins: where the stream is lost, a message may begin with it.
    fn look_at_operation(
        &mut self,
        conn: &mut Connection,
        dir: usize,
        record: &Record,
        captured: &[u8],
    ) {
        let stream = &conn.streams[dir];
        let side = conn.requests_from.map(|requests| {
            if requests == dir {
                Opening::Request
            } else {
                Opening::Response
            }
        });
        let may_resume = match stream.phase {
            Phase::Lost => true,
            // a request that was answered before its announced body came: there may be none
            Phase::Fixed { .. } | Phase::Chunked(_) => {
                stream.unmatched || (stream.awaits_continue && !self.is_open(stream.exchange))
            }
            _ => false,
        };
        // only the first operation can come instead of the announced body
        let in_body = matches!(stream.phase, Phase::Fixed { .. } | Phase::Chunked(_));
        conn.streams[dir].awaits_continue &= !in_body;
        if !may_resume {
            return;
        }
        let stream = &conn.streams[dir];
        let opening = head::opening(captured);
        let begins = match opening {
            Opening::Request | Opening::Response => side.is_none_or(|side| side == opening),
            Opening::Undecided => stream.phase == Phase::Lost && record.flags & flag::START != 0,
            Opening::Neither => false,
        };
        if begins {
            if conn.requests_from.is_some_and(|requests| requests != dir) && stream.in_message {
                self.finish_lost(conn, dir);
            }
            self.skip_unseen_answers(conn, dir, record);
            let stream = &mut conn.streams[dir];
            stream.phase = Phase::Idle;
            stream.inferred = true;
        } else if !conn.spoke && stream.phase == Phase::Lost {
            self.note_unrecognised(conn);
        }
    }

    fn note_unrecognised(&mut self, conn: &mut Connection) {
        conn.unrecognised += 1;
        if conn.unrecognised > LATE_OPERATIONS || conn.origin == Origin::Fresh {
            self.ignore(conn);
        }
    }

    fn is_open(&mut self, exchange: Option<ExchangeId>) -> bool {
        exchange.is_some_and(|id| self.exchanges.get(id).is_some())
    }

    /// `missing` bytes before `record` were not recorded.
    pub(super) fn gap(&mut self, conn: &mut Connection, dir: usize, record: &Record, missing: u64) {
        self.cut_capture(conn, dir);
        let counted = self.is_counted(conn, record);
        let stream = &mut conn.streams[dir];
        let to = stream.position + missing;
        match stream.phase {
            Phase::Fixed { end } if to < end => {}
            Phase::Fixed { end } => {
                stream.position = end;
                self.end_unseen_body(conn, dir, counted);
                if to > end {
                    self.unseen_messages(conn, dir, record, counted);
                }
            }
            Phase::Chunked(mut chunks) => match chunks.pass(stream.position, missing) {
                Some(Passed::Inside) => stream.phase = Phase::Chunked(chunks),
                _ => {
                    stream.has_gap = true;
                    self.lose_chunks(conn, dir);
                }
            },
            Phase::Head => {
                let error = (!counted).then_some("truncated");
                self.cut_head(conn, dir, error);
                conn.streams[dir].has_gap = true;
                self.unseen_messages(conn, dir, record, counted);
            }
            Phase::LongHead(_) => {
                stream.phase = Phase::Lost;
                stream.has_gap = true;
            }
            Phase::Idle => self.unseen_messages(conn, dir, record, counted),
            Phase::Lost => {
                stream.has_gap |= stream.in_message;
                if !stream.in_message {
                    self.unseen_messages(conn, dir, record, counted);
                }
            }
            Phase::Undecided => stream.phase = Phase::Lost,
            Phase::UntilEnd | Phase::Tunnel | Phase::Ended => {}
        }
        conn.streams[dir].position = to;
    }

    /// Whether the kernel has counted what is missing.
    fn is_counted(&self, conn: &Connection, record: &Record) -> bool {
        record.flags & flag::LOST != 0
            || conn
                .open
                .iter()
                .any(|entry| matches!(entry, Entry::Unseen { counted: true }))
    }

    /// A body of known length ended within a gap (it left the socket by splice, for one): nothing
    /// that matters was missed but the time of its last byte.
    fn end_unseen_body(&mut self, conn: &mut Connection, dir: usize, counted: bool) {
        let last_ns = conn.streams[dir].last_ns;
        if conn.requests_from == Some(dir) {
            return self.end_body(conn, dir, last_ns);
        }
        if counted {
            self.drop_front(conn, dir);
        }
        self.finish_response(conn, dir, None);
    }

    /// The kernel left this answer out: its request makes no event.
    pub(super) fn drop_front(&mut self, conn: &mut Connection, dir: usize) {
        if conn.streams[dir].unmatched {
            return;
        }
        if let Some(Entry::Request { exchange, .. }) = conn.open.front_mut()
            && let Some(id) = exchange.take()
        {
            self.lose(id);
        }
    }

    /// Whole messages may have passed unseen: the stream resumes at an operation that begins one.
    pub(super) fn unseen_messages(
        &mut self,
        conn: &mut Connection,
        dir: usize,
        record: &Record,
        counted: bool,
    ) {
        conn.uncertain = true;
        let Some(requests) = conn.requests_from else {
            conn.streams[dir].phase = Phase::Lost;
            return;
        };
        if requests == dir {
            conn.streams[dir].phase = Phase::Lost;
            let told = record.flags & (flag::LOST | flag::SKIPPED) != 0 || counted;
            self.losses.gaps += u64::from(!told);
            self.push_unseen(conn, false);
            return;
        }
        if conn.streams[dir].in_message {
            return;
        }
        conn.streams[dir].phase = Phase::Lost;
        self.skip_unanswered(conn, record, true);
    }

    /// Answers begin or resume with this record: those to earlier requests may have gone unseen.
    fn skip_unseen_answers(&mut self, conn: &mut Connection, dir: usize, record: &Record) {
        let is_answer = conn.requests_from.is_some_and(|requests| requests != dir);
        if is_answer && conn.open.len() > 1 && !conn.streams[dir].in_message {
            self.skip_unanswered(conn, record, false);
        }
    }

    /// Answers were not seen: which of the open requests does the next one belong to?
    ///
    /// Without pipelining it is the last request before it. That is certain where requests
    /// were left out in between (their answers are what is missing) or where the kernel saw that
    /// the last request began an exchange; else nothing is guessed.
    ///
    /// `is_certain`: bytes of answers are missing for sure.
    fn skip_unanswered(&mut self, conn: &mut Connection, record: &Record, is_certain: bool) {
        let earlier = |entry: &Entry| matches!(entry, Entry::Request { time_ns, .. } if *time_ns <= record.time_ns);
        let starts = |entry: &Entry| matches!(entry, Entry::Request { starts: true, .. });
        let entries = &conn.open;
        let behind_unseen = (1..entries.len())
            .rev()
            .find(|&place| entries[place - 1].is_unseen() && earlier(&entries[place]));
        let by_start = || {
            (1..entries.len())
                .rev()
                .find(|&place| starts(&entries[place]) && earlier(&entries[place]))
        };
        let requests = entries.iter().filter(|entry| !entry.is_unseen()).count();
        match behind_unseen.or_else(by_start) {
            Some(place) => self.drop_unanswered(conn, record, place),
            None if requests > 1 && is_certain => {
                self.drop_unanswered(conn, record, conn.open.len())
            }
            None => {}
        }
    }

    /// The first `count` in the queue will not be answered any more.
    fn drop_unanswered(&mut self, conn: &mut Connection, record: &Record, count: usize) {
        for _ in 0..count {
            let counted = self.is_counted(conn, record);
            match conn.open.pop_front() {
                Some(Entry::Request {
                    exchange: Some(id), ..
                }) if counted => self.lose(id),
                Some(Entry::Request {
                    exchange: Some(id), ..
                }) => {
                    if let Some(exchange) = self.exchanges.get(id) {
                        exchange.fail("truncated");
                    }
                    self.emit(conn, id, None, 0);
                }
                _ => {}
            }
        }
    }
}

pub(super) fn direction(record: &Record) -> usize {
    if record.flags & flag::SENT != 0 {
        SENT
    } else {
        RECEIVED
    }
}
