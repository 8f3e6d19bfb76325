//! Heads in a stream: found, put together from pieces, cut off.

use memchr::memchr;

use crate::records::Record;

use super::connection::{Body, Connection, Entry, Origin, Phase, Stream};
use super::engine::Engine;
use super::exchange::Moment;
use super::head::{self, EndSearch, Opening, RequestLine, Side, StatusLine};
use super::limits::{HEAD_BYTES, IDLE_BUFFER_BYTES, METHOD_BYTES, SHORT_HEAD_BYTES};
use super::request::HeadFault;

/// A head's start line.
#[derive(Clone, Debug)]
enum StartLine {
    Request(RequestLine),
    Response(StatusLine),
}

/// What the bytes at a message's beginning are.
enum Beginning {
    /// A whole head of that many bytes; its fields are at hand in `Engine::reader`.
    Whole(usize, StartLine),
    Partial,
    NoMessage,
}

impl Engine {
    /// Bytes where a message may begin: a head, or a part of one. Returns how many were taken.
    pub(super) fn begin_message(
        &mut self,
        conn: &mut Connection,
        dir: usize,
        record: &Record,
        bytes: &[u8],
    ) -> usize {
        let stream = &mut conn.streams[dir];
        // RFC 9112, 2.2: line ends before a request line are to be ignored
        let blank = bytes
            .iter()
            .take_while(|&&byte| matches!(byte, b'\r' | b'\n'))
            .count();
        stream.position += blank as u64;
        let rest = &bytes[blank..];
        if rest.is_empty() {
            return blank;
        }
        stream.start = stream.position;
        stream.first = Moment::of(record);
        match self.look_at_beginning(conn, dir, rest) {
            Beginning::Whole(length, line) => {
                conn.streams[dir].position += length as u64;
                self.whole_head(conn, dir, record, &rest[..length], line);
                blank + length
            }
            Beginning::Partial => {
                let stream = &mut conn.streams[dir];
                stream.phase = Phase::Head;
                stream.search = EndSearch::new();
                stream.line_checked = false;
                blank + self.continue_head(conn, dir, record, rest)
            }
            Beginning::NoMessage => {
                conn.streams[dir].position += rest.len() as u64;
                self.no_message(conn, dir, record);
                bytes.len()
            }
        }
    }

    /// `None`: not known yet.
    fn side(conn: &Connection, dir: usize, bytes: &[u8]) -> Option<Side> {
        match conn.requests_from {
            Some(requests) if requests == dir => Some(Side::Request),
            Some(_) => Some(Side::Response),
            None => match head::opening(bytes) {
                Opening::Request => Some(Side::Request),
                Opening::Response => Some(Side::Response),
                _ => None,
            },
        }
    }

    fn look_at_beginning(&mut self, conn: &Connection, dir: usize, bytes: &[u8]) -> Beginning {
        let Some(side) = Self::side(conn, dir, bytes) else {
            return match head::opening(bytes) {
                Opening::Undecided => Beginning::Partial,
                _ => Beginning::NoMessage,
            };
        };
        let Some(end) = memchr(b'\n', bytes) else {
            return match (head::opening(bytes), side) {
                (Opening::Undecided, _)
                | (Opening::Request, Side::Request)
                | (Opening::Response, Side::Response) => Beginning::Partial,
                _ => Beginning::NoMessage,
            };
        };
        let Some(line) = StartLine::parse(side, without_return(&bytes[..end])) else {
            return Beginning::NoMessage;
        };
        match self.reader.find_fields(bytes, end + 1, side) {
            Some(length) if length <= HEAD_BYTES => Beginning::Whole(length, line),
            _ => Beginning::Partial,
        }
    }

    /// More bytes of a head that came in pieces.
    pub(super) fn continue_head(
        &mut self,
        conn: &mut Connection,
        dir: usize,
        record: &Record,
        bytes: &[u8],
    ) -> usize {
        let stream = &mut conn.streams[dir];
        let room = HEAD_BYTES - stream.head.len();
        let found = stream.search.find(&bytes[..bytes.len().min(room)]);
        let taken = found.unwrap_or(bytes.len().min(room));
        stream.head.extend_from_slice(&bytes[..taken]);
        stream.position += taken as u64;
        self.buffered += taken;
        if found.is_some() {
            let head = self.take_head(stream);
            match self.look_at_beginning(conn, dir, &head) {
                Beginning::Whole(_, line) => self.whole_head(conn, dir, record, &head, line),
                _ => self.no_message(conn, dir, record),
            }
            keep_buffer(&mut conn.streams[dir], head);
        } else if stream.head.len() == HEAD_BYTES {
            self.long_head(conn, dir);
        } else if self.has_no_room(stream.head.len()) {
            self.losses.buffers += 1;
            self.cut_head(conn, dir, Some("truncated"));
        } else {
            self.check_line(conn, dir, record, &bytes[..taken]);
        }
        taken
    }

    /// Whether a partial head of so many bytes has to be given up.
    fn has_no_room(&self, head_bytes: usize) -> bool {
        let factor = if head_bytes > SHORT_HEAD_BYTES { 1 } else { 2 };
        self.buffered > self.budgets.buffered * factor
    }

    /// Looks whether a partial head can still become one; not at every byte of it anew.
    fn check_line(&mut self, conn: &mut Connection, dir: usize, record: &Record, piece: &[u8]) {
        const ALWAYS_CHECKED: usize = 128;
        let stream = &mut conn.streams[dir];
        let has_line = memchr(b'\n', piece).is_some();
        if stream.line_checked || !(has_line || stream.head.len() <= ALWAYS_CHECKED) {
            return;
        }
        stream.line_checked = has_line;
        let head = std::mem::take(&mut stream.head);
        if matches!(
            self.look_at_beginning(conn, dir, &head),
            Beginning::NoMessage
        ) {
            self.buffered -= head.len();
            self.no_message(conn, dir, record);
        } else {
            conn.streams[dir].head = head;
        }
    }

    pub(super) fn take_head(&mut self, stream: &mut Stream) -> Vec<u8> {
        self.buffered -= stream.head.len();
        std::mem::take(&mut stream.head)
    }

    fn whole_head(
        &mut self,
        conn: &mut Connection,
        dir: usize,
        record: &Record,
        head: &[u8],
        line: StartLine,
    ) {
        let body = match line {
            StartLine::Request(line) => {
                let body = self.request_head(conn, dir, head, line, HeadFault::None);
                self.check_depth(conn);
                Some(body)
            }
            StartLine::Response(line) => {
                self.recognise_by_answer(conn, dir);
                self.response_head(conn, dir, head, line, HeadFault::None)
            }
        };
        match body.filter(|_| !conn.ignored) {
            Some(body) => self.begin_body(conn, dir, record, body),
            None => conn.streams[dir].phase = Phase::Idle,
        }
    }

    /// The first head of a connection is an answer's: the connection is older than the tracer.
    fn recognise_by_answer(&mut self, conn: &mut Connection, dir: usize) {
        if conn.requests_from.is_none() {
            let first = conn.streams[dir].first;
            self.recognise(conn, 1 - dir, &first);
        }
    }

    /// A head beyond [`HEAD_BYTES`]: what there is of it is told, the rest skipped.
    fn long_head(&mut self, conn: &mut Connection, dir: usize) {
        let stream = &mut conn.streams[dir];
        let search = stream.search;
        let body = self.cut_head(conn, dir, Some("truncated"));
        let stream = &mut conn.streams[dir];
        if let Some(body) = body.filter(|_| !conn.ignored) {
            // what was not seen of the fields may speak of a body
            let trusted =
                matches!(body, Body::Length(_) | Body::Chunked) || conn.requests_from == Some(dir);
            stream.after_head = if trusted { body } else { Body::Unknown };
            stream.phase = Phase::LongHead(search);
        }
    }

    /// The rest of a partial head is not seen, or not kept. What is there makes an exchange with
    /// this error; `None`: it is dropped. The stream is lost. Returns what body follows the head.
    pub(super) fn cut_head(
        &mut self,
        conn: &mut Connection,
        dir: usize,
        error: Option<&'static str>,
    ) -> Option<Body> {
        let stream = &mut conn.streams[dir];
        stream.phase = Phase::Lost;
        let head = self.take_head(stream);
        let side = Self::side(conn, dir, &head)?;
        let Some(error) = error else {
            if side == Side::Response {
                self.drop_front(conn, dir);
                conn.open.pop_front();
            }
            return None;
        };
        match side {
            Side::Request => self.cut_request(conn, dir, &head, error),
            Side::Response => self.cut_response(conn, dir, &head, error),
        }
    }

    fn cut_request(
        &mut self,
        conn: &mut Connection,
        dir: usize,
        head: &[u8],
        error: &'static str,
    ) -> Option<Body> {
        let end = memchr(b'\n', head);
        let line = match end {
            Some(end) => head::parse_request_line(without_return(&head[..end]))?,
            // a target without end says something only where HTTP was spoken before
            None => partial_request_line(head).filter(|_| conn.spoke)?,
        };
        // the last line has no end, and is not there as far as fields go
        self.reader
            .find_fields_of_cut(head, end.map_or(head.len(), |end| end + 1), Side::Request);
        let body = self.request_head(conn, dir, head, line, HeadFault::Cut(error));
        conn.streams[dir].in_message = true;
        self.check_depth(conn);
        Some(body)
    }

    fn cut_response(
        &mut self,
        conn: &mut Connection,
        dir: usize,
        head: &[u8],
        error: &'static str,
    ) -> Option<Body> {
        let line = head::line_of(head).and_then(head::parse_status_line);
        let Some(line) = line else {
            let start = conn.streams[dir].start;
            self.begin_unseen_answer(conn, dir, start, error);
            return None;
        };
        let end = memchr(b'\n', head).map_or(head.len(), |end| end + 1);
        self.reader.find_fields_of_cut(head, end, Side::Response);
        self.recognise_by_answer(conn, dir);
        self.response_head(conn, dir, head, line, HeadFault::Cut(error))
    }

    /// An answer without a head that could be read begins at `start`.
    pub(super) fn begin_unseen_answer(
        &mut self,
        conn: &mut Connection,
        dir: usize,
        start: u64,
        error: &'static str,
    ) {
        let stream = &mut conn.streams[dir];
        stream.phase = Phase::Lost;
        stream.in_message = true;
        stream.unmatched = !matches!(conn.open.front(), Some(Entry::Request { .. }));
        if let Some(Entry::Request {
            exchange: Some(id), ..
        }) = conn.open.front()
            && let Some(exchange) = self.exchanges.get(*id)
        {
            exchange.response_start.get_or_insert(start);
            exchange.fail(error);
        }
    }

    /// What came where a message was to begin is none.
    fn no_message(&mut self, conn: &mut Connection, dir: usize, record: &Record) {
        let stream = &mut conn.streams[dir];
        stream.phase = Phase::Lost;
        let was_inferred = std::mem::take(&mut stream.inferred);
        if !conn.spoke {
            if conn.origin == Origin::Fresh {
                self.ignore(conn);
            }
        } else if was_inferred {
            // the end of the message before was not where it was thought to be
        } else if conn.requests_from == Some(dir) {
            self.malformed_request(conn, dir, record);
        } else {
            self.malformed_response(conn, dir, record);
        }
    }
}

impl StartLine {
    fn parse(side: Side, line: &[u8]) -> Option<Self> {
        match side {
            Side::Request => head::parse_request_line(line).map(Self::Request),
            Side::Response => head::parse_status_line(line).map(Self::Response),
        }
    }
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Method and target of a request line whose end is missing.
fn partial_request_line(head: &[u8]) -> Option<RequestLine> {
    let blank = memchr(b' ', head).filter(|&blank| blank <= METHOD_BYTES)?;
    Some(RequestLine {
        method: 0..blank,
        target: blank + 1..head.len(),
        version: head::Version::Http11,
    })
}

/// Gives a buffer back to the stream that it came from, unless it is large or no longer needed.
fn keep_buffer(stream: &mut Stream, mut buffer: Vec<u8>) {
    if buffer.capacity() <= IDLE_BUFFER_BYTES && stream.head.capacity() == 0 {
        buffer.clear();
        stream.head = buffer;
    }
}
