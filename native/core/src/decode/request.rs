//! Request heads: from a head's bytes to an open exchange.

use std::borrow::Cow;

use memchr::memchr;

use crate::records::Record;

use super::connection::{Body, Connection, Entry, MethodKind};
use super::engine::Engine;
use super::exchange::{Authority, Exchange, ExchangeId, Span};
use super::fields::Notes;
use super::head::{self, RequestLine, Side};
use super::limits::{PIPELINE_COUNTED, PIPELINE_DEPTH};
use super::privacy::{MASK, Privacy};
use super::route::Route;
use super::{Policy, PolicyUpdate};

/// Memory reused for the text of one target.
#[derive(Debug, Default)]
pub(super) struct TargetText {
    masked: String,
    route: String,
}

/// What is wrong with a head, if anything.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum HeadFault {
    None,
    /// It was not seen to its end, for this reason.
    Cut(&'static str),
}

impl Engine {
    /// A request's head is at hand in `self.reader`; the stream stands behind it (or, where it
    /// is cut, somewhere in it). Begins an exchange and says what body follows.
    pub(super) fn request_head(
        &mut self,
        conn: &mut Connection,
        dir: usize,
        head: &[u8],
        line: RequestLine,
        fault: HeadFault,
    ) -> Body {
        let (text, line) = self.request_text(head, line);
        let stream = &conn.streams[dir];
        let first = stream.first;
        let id = self.begin_exchange(conn);
        let exchange = self.exchanges.get_or(id, &mut self.spare);
        exchange.first = first;
        exchange.request_start = stream.start;
        let kind = store_line(
            exchange,
            &text,
            &line,
            &mut self.reader.privacy,
            &mut self.target,
        );
        let notes = self
            .reader
            .store_request(&text, &mut exchange.request, &mut exchange.trace);
        let body = request_body(kind, &notes);
        if matches!(body, Body::None | Body::Leaves) && fault == HeadFault::None {
            exchange.request_end = Some(stream.position);
        }
        exchange.note_request(&notes, self.max_payload_capture > 0);
        exchange.note_fault(notes.spoils_request(), notes.cut, fault);
        if notes.spoils_request() && !conn.spoke {
            id.into_iter().for_each(|id| self.exchanges.end(id));
            self.ignore(conn);
            return Body::Unknown;
        }
        id.into_iter().for_each(|id| self.exchanges.recount(id));
        self.recognise(conn, dir, &first);
        self.close_message_before(conn, dir, first.starts);
        self.count_request(conn, id.is_none());
        let stream = &mut conn.streams[dir];
        stream.exchange = id;
        stream.awaits_continue = notes.expects_continue;
        let (time_ns, starts) = (first.time_ns, first.starts);
        conn.open.push_back(Entry::Request {
            exchange: id,
            kind,
            time_ns,
            starts,
        });
        self.note_pipeline(conn);
        body
    }

    fn request_text<'a>(
        &mut self,
        head: &'a [u8],
        line: RequestLine,
    ) -> (Cow<'a, str>, RequestLine) {
        let text = self.reader.text(head, Side::Request);
        if matches!(text, Cow::Borrowed(_)) {
            return (text, line);
        }
        // replaced bytes have moved the parts of the line
        let found = head::line_of(text.as_bytes()).and_then(head::parse_request_line);
        let line = found.unwrap_or(RequestLine {
            target: line.method.end..line.method.end,
            ..line
        });
        (text, line)
    }

    /// Several requests are open at once: any operation may hold several heads, the kernel should send all of it.
    fn note_pipeline(&mut self, conn: &mut Connection) {
        if conn.open.len() > 1 && !conn.pipelined {
            conn.pipelined = true;
            self.advise(PolicyUpdate {
                connection: conn.id,
                policy: Policy::SendAll,
            });
        }
    }

    /// `None` where there is no room: the request is counted as lost, its answer is still awaited.
    fn begin_exchange(&mut self, conn: &Connection) -> Option<ExchangeId> {
        let room = self.exchanges.open() < self.correlation_table_size
            && conn.open.len() < PIPELINE_DEPTH
            && self.exchanges.make_room(self.budgets.open_requests);
        room.then(|| self.exchanges.begin())
    }

    fn count_request(&mut self, conn: &mut Connection, has_no_room: bool) {
        conn.requests += 1;
        self.losses.open_requests += u64::from(has_no_room);
    }

    /// Gives a connection up that asks and asks without ever being answered.
    pub(super) fn check_depth(&mut self, conn: &mut Connection) {
        if conn.open.len() > PIPELINE_COUNTED {
            self.drop_open(conn);
            self.ignore(conn);
        }
    }

    /// Bodies before this request whose ends could not be seen: the request's ends here, and the
    /// answer's has ended where the kernel saw a new exchange begin.
    fn close_message_before(&mut self, conn: &mut Connection, dir: usize, starts: bool) {
        let answers = 1 - dir;
        if starts && self.is_lost_within(conn, answers) {
            self.finish_lost(conn, answers);
        }
        let stream = &mut conn.streams[dir];
        let (start, in_message) = (stream.start, std::mem::take(&mut stream.in_message));
        if let Some(exchange) = stream
            .exchange
            .filter(|_| in_message)
            .and_then(|id| self.exchanges.get(id))
        {
            exchange.request_end.get_or_insert(start);
        }
    }

    /// A request line that is no HTTP, on a connection that spoke it before.
    pub(super) fn malformed_request(&mut self, conn: &mut Connection, dir: usize, record: &Record) {
        let id = self.begin_exchange(conn);
        self.count_request(conn, id.is_none());
        let Some((id, exchange)) = id.and_then(|id| Some((id, self.exchanges.get(id)?))) else {
            return;
        };
        let stream = &mut conn.streams[dir];
        exchange.first = stream.first;
        exchange.request_start = stream.start;
        exchange.fail("malformed");
        stream.exchange = Some(id);
        stream.in_message = true;
        conn.open.push_back(Entry::Request {
            exchange: Some(id),
            kind: MethodKind::Usual,
            time_ns: record.time_ns,
            starts: stream.first.starts,
        });
    }
}

impl MethodKind {
    fn of(method: &str) -> Self {
        match method {
            "HEAD" => Self::Head,
            "CONNECT" => Self::Connect,
            _ => Self::Usual,
        }
    }
}

/// RFC 9112, 6.3, for requests.
fn request_body(kind: MethodKind, notes: &Notes) -> Body {
    match notes.content_length {
        _ if notes.spoils_request() => Body::Unknown,
        _ if kind == MethodKind::Connect => Body::Leaves,
        _ if notes.chunked => Body::Chunked,
        Some(length @ 1..) => Body::Length(length),
        _ if notes.upgrades => Body::Leaves,
        _ => Body::None,
    }
}

fn store_line(
    exchange: &mut Exchange,
    text: &str,
    line: &RequestLine,
    privacy: &mut Privacy,
    target: &mut TargetText,
) -> MethodKind {
    exchange.version = line.version;
    let method = &text[line.method.clone()];
    exchange.method = Some(exchange.append(method));
    let kind = MethodKind::of(method);
    store_target(exchange, kind, &text[line.target.clone()], privacy, target);
    kind
}

fn store_target(
    exchange: &mut Exchange,
    kind: MethodKind,
    target: &str,
    privacy: &mut Privacy,
    text: &mut TargetText,
) {
    if kind == MethodKind::Connect {
        exchange.authority = store_authority(exchange, target);
        return;
    }
    let mut rest = target;
    if let Some(scheme) =
        head::scheme_length(target.as_bytes()).filter(|_| !target.starts_with('/'))
    {
        rest = &target[scheme..];
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        exchange.authority = store_authority(exchange, &rest[..end]);
        rest = &rest[end..];
    }
    let question = memchr(b'?', rest.as_bytes());
    let path = &rest[..question.unwrap_or(rest.len())];
    store_path(exchange, path, privacy, text);
    if let Some(question) = question {
        text.masked.clear();
        privacy.mask_pairs(&rest[question + 1..], &mut text.masked);
        exchange.query = Some(exchange.append(&text.masked));
    }
}

fn store_authority(exchange: &mut Exchange, authority: &str) -> Authority {
    let start = exchange.line.len();
    match authority.rfind('@') {
        Some(at) => {
            exchange.line.push_str(MASK);
            exchange.line.push_str(&authority[at..]);
        }
        None => exchange.line.push_str(authority),
    }
    Authority::InLine(Span::new(start, exchange.line.len()))
}

fn store_path(exchange: &mut Exchange, path: &str, privacy: &mut Privacy, text: &mut TargetText) {
    let path = if path.is_empty() { "/" } else { path };
    let Some(segments) = path.strip_prefix('/') else {
        // `*`, the server as a whole
        let place = exchange.append(path);
        (exchange.path, exchange.route) = (Some(place), Some(place));
        return;
    };
    text.route.clear();
    let mut route = Route::new(&mut text.route);
    let has_parameters = memchr(b';', path.as_bytes()).is_some();
    let shown = if has_parameters || privacy.suspects(path.as_bytes()) {
        text.masked.clear();
        for segment in split_segments(segments) {
            text.masked.push('/');
            let start = text.masked.len();
            privacy.mask_text(segment, &mut text.masked);
            route.segment(segment, &text.masked[start..]);
        }
        &text.masked
    } else {
        split_segments(segments).for_each(|segment| route.segment(segment, segment));
        path
    };
    let place = exchange.append(shown);
    exchange.path = Some(place);
    exchange.route = Some(if text.route == shown {
        place
    } else {
        exchange.append(&text.route)
    });
}

/// The parts of a path between slashes; they are short, so that looking at each byte is fastest.
fn split_segments(path: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(path);
    std::iter::from_fn(move || {
        let path = rest?;
        let slash = path.bytes().position(|byte| byte == b'/');
        rest = slash.map(|slash| &path[slash + 1..]);
        Some(&path[..slash.unwrap_or(path.len())])
    })
}
