//! The state machine of one stream: bytes in order, phase by phase.

use crate::records::{Record, flag};

use super::chunks::{Chunks, Passed, Step};
use super::connection::{Body, Connection, Phase, SENT};
use super::engine::Engine;
use super::limits::{SKIP_AHEAD_BYTES, SKIP_BYTES};
use super::{Policy, PolicyUpdate};

/// The end of a chunked body, and how it looks behind data.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
const LAST_CHUNK_BEHIND_DATA: &[u8] = b"\r\n0\r\n\r\n";

impl Engine {
    /// Takes an operation's bytes, which begin at the stream's position: `bytes` of them were
    /// captured, `unseen` more were moved.
    pub(super) fn feed(
        &mut self,
        conn: &mut Connection,
        dir: usize,
        record: &Record,
        bytes: &[u8],
        unseen: u64,
    ) {
        let mut rest = bytes;
        // the kernel says START of the operation's first byte, not of the messages behind it
        let behind = Record {
            flags: record.flags & !flag::START,
            ..*record
        };
        while !rest.is_empty() && !conn.ignored {
            if self.must_wait(conn, dir, rest) {
                // an answer within the operation, whose request has not come yet
                let length = (rest.len() as u64 + unseen) as u32;
                let sequence = conn.streams[dir].position as u32;
                let flags = record.flags & flag::SENT;
                return self.hold(
                    conn,
                    dir,
                    &Record {
                        sequence,
                        length,
                        flags,
                        ..*record
                    },
                    rest,
                );
            }
            let at_start = rest.len() == bytes.len();
            let taken = self.take(conn, dir, if at_start { record } else { &behind }, rest);
            rest = &rest[taken..];
        }
        if unseen > 0 && !conn.ignored {
            self.pass(conn, dir, record, unseen);
        }
        let stream = &mut conn.streams[dir];
        stream.last_ns = record.time_ns;
        let chunks_lost = stream.chunks_lost;
        match stream.phase {
            Phase::Lost if chunks_lost => {
                self.recognise_last_chunk(conn, dir, record, bytes, unseen)
            }
            Phase::Fixed { end } => self.advise_skip(conn, dir, end),
            Phase::Chunked(chunks) => {
                if let Some(end) = chunks.data_until() {
                    self.advise_skip(conn, dir, end);
                }
            }
            _ => {}
        }
    }

    /// Whether an answer begins that no request asked for so far.
    fn must_wait(&self, conn: &Connection, dir: usize, rest: &[u8]) -> bool {
        conn.streams[dir].phase == Phase::Idle
            && !self.forcing
            && conn.requests_from.is_some_and(|requests| requests != dir)
            && !conn.expects_answer()
            && !rest.iter().all(|byte| matches!(byte, b'\r' | b'\n'))
    }

    /// Takes some of `bytes` (which are not empty) and returns how many, at least one.
    fn take(&mut self, conn: &mut Connection, dir: usize, record: &Record, bytes: &[u8]) -> usize {
        let stream = &mut conn.streams[dir];
        match stream.phase {
            Phase::Idle => self.begin_message(conn, dir, record, bytes),
            Phase::Head => self.continue_head(conn, dir, record, bytes),
            Phase::Fixed { end } => {
                let taken = (end - stream.position).min(bytes.len() as u64) as usize;
                stream.position += taken as u64;
                self.capture(conn, dir, &bytes[..taken]);
                if conn.streams[dir].position == end {
                    self.end_body(conn, dir, record.time_ns);
                }
                taken
            }
            Phase::Chunked(chunks) => self.take_chunks(conn, dir, record, chunks, bytes),
            Phase::LongHead(mut search) => {
                let found = search.find(bytes);
                let taken = found.unwrap_or(bytes.len());
                stream.position += taken as u64;
                stream.phase = Phase::LongHead(search);
                if found.is_some() {
                    let body = stream.after_head;
                    self.begin_body(conn, dir, record, body);
                }
                taken
            }
            Phase::UntilEnd => {
                stream.position += bytes.len() as u64;
                self.capture(conn, dir, bytes);
                bytes.len()
            }
            Phase::Lost | Phase::Undecided | Phase::Tunnel | Phase::Ended => {
                stream.position += bytes.len() as u64;
                bytes.len()
            }
        }
    }

    fn take_chunks(
        &mut self,
        conn: &mut Connection,
        dir: usize,
        record: &Record,
        mut chunks: Chunks,
        bytes: &[u8],
    ) -> usize {
        let stream = &mut conn.streams[dir];
        let step = chunks.step(stream.position, bytes);
        stream.phase = Phase::Chunked(chunks);
        match step {
            Step::Framing(taken) => {
                stream.position += taken as u64;
                taken
            }
            Step::Data(taken) => {
                stream.position += taken as u64;
                self.capture(conn, dir, &bytes[..taken]);
                taken
            }
            Step::End(taken) => {
                stream.position += taken as u64;
                self.end_body(conn, dir, record.time_ns);
                taken
            }
            Step::Malformed => {
                stream.position += bytes.len() as u64;
                self.fail_message(conn, dir, "malformed");
                conn.streams[dir].phase = Phase::Lost;
                bytes.len()
            }
        }
    }

    /// A head behind which this body follows was read.
    pub(super) fn begin_body(
        &mut self,
        conn: &mut Connection,
        dir: usize,
        record: &Record,
        body: Body,
    ) {
        let is_answer = conn.requests_from != Some(dir);
        let stream = &mut conn.streams[dir];
        stream.inferred = false;
        stream.has_gap = false;
        stream.chunks_lost = false;
        stream.in_message = true;
        stream.phase = match body {
            Body::None => {
                self.end_body(conn, dir, record.time_ns);
                return;
            }
            Body::Length(length) => Phase::Fixed {
                end: stream.position.saturating_add(length),
            },
            Body::Chunked => Phase::Chunked(Chunks::new()),
            Body::UntilEnd => Phase::UntilEnd,
            Body::Leaves if is_answer => Phase::Tunnel,
            Body::Leaves => {
                stream.in_message = false;
                Phase::Undecided
            }
            Body::Unknown if is_answer => {
                self.finish_response(conn, dir, record.time_ns);
                conn.streams[dir].phase = Phase::Lost;
                return;
            }
            Body::Unknown => Phase::Lost,
        };
    }

    /// The message under way is complete.
    pub(super) fn end_body(&mut self, conn: &mut Connection, dir: usize, end_ns: u64) {
        if conn.requests_from != Some(dir) {
            return self.finish_response(conn, dir, end_ns);
        }
        let stream = &mut conn.streams[dir];
        stream.phase = Phase::Idle;
        stream.in_message = false;
        stream.has_gap = false;
        stream.skip_until = None;
        let position = stream.position;
        if let Some(exchange) = stream.exchange.and_then(|id| self.exchanges.get(id)) {
            exchange.request_end = Some(position);
            exchange.request_body.whole = !exchange.request_body.cut;
        }
    }

    /// Passes bytes at the end of an operation that were not captured.
    fn pass(&mut self, conn: &mut Connection, dir: usize, record: &Record, unseen: u64) {
        let stream = &mut conn.streams[dir];
        let position = stream.position;
        match stream.phase {
            Phase::Fixed { end } => {
                let taken = (end - position).min(unseen);
                stream.position += taken;
                self.cut_capture(conn, dir);
                if conn.streams[dir].position == end {
                    self.end_body(conn, dir, record.time_ns);
                }
                if taken < unseen {
                    self.pass(conn, dir, record, unseen - taken);
                }
            }
            Phase::Chunked(mut chunks) => {
                let passed = chunks.pass(position, unseen);
                stream.position += unseen;
                stream.phase = Phase::Chunked(chunks);
                self.cut_capture(conn, dir);
                match passed {
                    Some(Passed::Inside) => {}
                    Some(Passed::End) => {
                        self.end_body(conn, dir, record.time_ns);
                        conn.streams[dir].inferred = true;
                    }
                    None => self.lose_chunks(conn, dir),
                }
            }
            Phase::Head => {
                stream.position += unseen;
                // further messages may have been in there
                conn.uncertain = true;
                self.cut_head(conn, dir, Some("truncated"));
            }
            Phase::Idle => {
                stream.position += unseen;
                let is_answer = conn.requests_from.is_some_and(|requests| requests != dir);
                if is_answer && conn.open.len() == 1 {
                    self.begin_unseen_answer(conn, dir, position, "truncated");
                } else {
                    self.unseen_messages(conn, dir, record, false);
                }
            }
            Phase::LongHead(_) => {
                stream.position += unseen;
                stream.phase = Phase::Lost;
            }
            Phase::UntilEnd => {
                stream.position += unseen;
                self.cut_capture(conn, dir);
            }
            Phase::Lost | Phase::Undecided | Phase::Tunnel | Phase::Ended => {
                stream.position += unseen
            }
        }
    }

    pub(super) fn lose_chunks(&mut self, conn: &mut Connection, dir: usize) {
        let stream = &mut conn.streams[dir];
        stream.phase = Phase::Lost;
        stream.chunks_lost = true;
    }

    /// Where the framing of chunks is lost, an operation that ends like a chunked body ends it.
    fn recognise_last_chunk(
        &mut self,
        conn: &mut Connection,
        dir: usize,
        record: &Record,
        bytes: &[u8],
        unseen: u64,
    ) {
        let is_last = match unseen {
            0 => bytes == LAST_CHUNK || bytes.ends_with(LAST_CHUNK_BEHIND_DATA),
            _ => bytes.is_empty() && unseen == LAST_CHUNK.len() as u64,
        };
        let stream = &mut conn.streams[dir];
        if is_last && stream.in_message {
            let has_gap = stream.has_gap;
            if has_gap {
                self.fail_message(conn, dir, "truncated");
            }
            self.end_body(conn, dir, record.time_ns);
            conn.streams[dir].inferred = true;
        }
    }

    /// Tells the kernel of a body that is long enough, once no byte of it is wanted any more.
    fn advise_skip(&mut self, conn: &mut Connection, dir: usize, end: u64) {
        let stream = &conn.streams[dir];
        let until = end.min(stream.position + SKIP_AHEAD_BYTES);
        let is_news = stream
            .skip_until
            .is_none_or(|told| told < until && told <= stream.position);
        if end - stream.position <= SKIP_BYTES || !is_news || self.wants_body(conn, dir) {
            return;
        }
        conn.streams[dir].skip_until = Some(until);
        let policy = Policy::SkipUntil {
            sent: dir == SENT,
            sequence: until as u32,
        };
        self.advise(PolicyUpdate {
            connection: conn.id,
            policy,
        });
    }

    fn fail_message(&mut self, conn: &Connection, dir: usize, error: &'static str) {
        if conn.requests_from != Some(dir) {
            if !conn.streams[dir].unmatched {
                self.fail_front(conn, error);
            }
        } else if let Some(exchange) = conn.streams[dir]
            .exchange
            .and_then(|id| self.exchanges.get(id))
        {
            exchange.fail(error);
        }
    }
}
