//! What is known of one connection.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::columns::EndpointRow;
use crate::records::{Endpoints, Record, family, flag};

use super::chunks::Chunks;
use super::exchange::{ExchangeId, Moment, Span};
use super::head::EndSearch;

/// Direction of bytes: index of [`Connection::streams`].
pub(super) const RECEIVED: usize = 0;
/// See [`RECEIVED`].
pub(super) const SENT: usize = 1;

/// Where a stream is between two bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Phase {
    /// It is not known where messages begin: only one that begins with an operation counts.
    Lost,
    /// A message may begin with the next byte.
    Idle,
    /// Inside a head whose bytes are in `Stream::head`.
    Head,
    /// Inside a head that is too long to be kept.
    LongHead(EndSearch),
    /// Inside a body that ends at this position.
    Fixed {
        end: u64,
    },
    Chunked(Chunks),
    /// Inside a body that ends with the stream.
    UntilEnd,
    /// A request that wants to leave HTTP; what follows depends on the answer.
    Undecided,
    /// No longer HTTP.
    Tunnel,
    Ended,
}

/// How a message's body ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Body {
    None,
    Length(u64),
    Chunked,
    UntilEnd,
    /// Its framing cannot be trusted.
    Unknown,
    /// What follows depends on the answer, or is no HTTP any more.
    Leaves,
}

/// A record that came before one that it must follow.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) record: Record,
    pub(super) payload: Box<[u8]>,
    /// Number of the drain in which it came.
    pub(super) drain: u64,
}

/// One direction of a connection.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) phase: Phase,
    /// Position of the next byte: the sequence, extended to 64 bits.
    pub(super) position: u64,
    /// `position` is known.
    pub(super) anchored: bool,
    /// Position of the first byte that was seen.
    pub(super) base: u64,
    /// No byte follows.
    pub(super) ended: bool,
    /// A message is under way (its end may be unknown: [`Phase::Lost`]).
    pub(super) in_message: bool,
    /// Operations within the present message were not recorded.
    pub(super) has_gap: bool,
    /// The present answer belongs to no request that is known.
    pub(super) unmatched: bool,
    /// The end of the message before was inferred, not seen.
    pub(super) inferred: bool,
    /// The start line in `head` was looked at as a whole.
    pub(super) line_checked: bool,
    /// No byte of the body came so far, and it was announced with `Expect`.
    pub(super) awaits_continue: bool,
    /// The framing of a chunked body was lost, so that its end can only be recognised.
    pub(super) chunks_lost: bool,
    /// What follows a head that is too long to be kept.
    pub(super) after_head: Body,
    /// Bytes up to here are not told by the kernel: it was advised to skip them.
    pub(super) skip_until: Option<u64>,
    pub(super) head: Vec<u8>,
    pub(super) search: EndSearch,
    /// Position and moment of the present message's first byte.
    pub(super) start: u64,
    pub(super) first: Moment,
    /// The exchange whose request is under way.
    pub(super) exchange: Option<ExchangeId>,
    /// Time of the last record that moved bytes.
    pub(super) last_ns: u64,
    pub(super) held: Vec<Held>,
    pub(super) held_bytes: usize,
}

impl Stream {
    fn new() -> Self {
        Self {
            phase: Phase::Lost,
            position: 0,
            anchored: false,
            base: 0,
            ended: false,
            in_message: false,
            has_gap: false,
            unmatched: false,
            inferred: false,
            line_checked: false,
            awaits_continue: false,
            chunks_lost: false,
            after_head: Body::None,
            skip_until: None,
            head: Vec::new(),
            search: EndSearch::new(),
            start: 0,
            first: Moment::default(),
            exchange: None,
            last_ns: 0,
            held: Vec::new(),
            held_bytes: 0,
        }
    }

    /// How far `sequence` is ahead of the next expected byte; negative: behind it.
    pub(super) fn ahead(&self, sequence: u32) -> i32 {
        sequence.wrapping_sub(self.position as u32).cast_signed()
    }

    pub(super) fn anchor(&mut self, sequence: u32) {
        // room below, so that positions never become negative
        self.position = (1 << 32) + u64::from(sequence);
        self.base = self.position;
        self.anchored = true;
    }

    /// Bytes moved since the connection was first seen.
    pub(super) fn bytes(&self) -> u64 {
        self.position - self.base
    }

    /// Whether the kernel keeps bytes back that would show progress.
    pub(super) fn is_skipping(&self) -> bool {
        self.skip_until.is_some_and(|until| self.position < until)
    }
}

/// Of an open request, what decides about the answer's body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum MethodKind {
    Usual,
    Head,
    Connect,
}

/// A place in the queue of requests that wait for their answers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Entry {
    /// `exchange` is `None` when its event is out already or never will be.
    Request {
        exchange: Option<ExchangeId>,
        kind: MethodKind,
        time_ns: u64,
        starts: bool,
    },
    /// Any number of exchanges that were not seen; `counted`: by the kernel.
    Unseen { counted: bool },
}

impl Entry {
    pub(super) fn is_unseen(&self) -> bool {
        matches!(self, Self::Unseen { .. })
    }
}

/// How the connection's life began, as far as it is known.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Origin {
    /// The first record tells the beginning.
    Fresh,
    /// Older than the tracer, or its first record was not seen.
    #[default]
    Late,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: u64,
    pub(super) origin: Origin,
    /// Not HTTP: its records are of no interest.
    pub(super) ignored: bool,
    /// A valid head was seen.
    pub(super) spoke: bool,
    /// FIFO order of answers may be off: the times have a say.
    pub(super) uncertain: bool,
    /// Several requests were open at once.
    pub(super) pipelined: bool,
    /// Direction of the requests, once known.
    pub(super) requests_from: Option<usize>,
    pub(super) streams: [Stream; 2],
    pub(super) open: VecDeque<Entry>,
    pub(super) requests: u64,
    pub(super) opened_ns: Option<u64>,
    pub(super) first_ns: u64,
    pub(super) last_ns: u64,
    pub(super) unrecognised: u32,
    pub(super) owner: Moment,
    pub(super) pending_close: Option<Record>,
    pub(super) close_drain: u64,
    /// In the decoder's list of connections that wait for something.
    pub(super) listed: bool,
    family: u16,
    local_port: u16,
    peer_port: u16,
    /// Connection id, local and peer address (or path), end to end.
    text: String,
    id_text: Span,
    local: Span,
    peer: Span,
}

impl Connection {
    pub(super) fn new(id: u64, now_ns: u64) -> Self {
        let mut text = String::with_capacity(48);
        // writing to a String cannot fail
        let _ = write!(text, "{id:016x}");
        Self {
            id,
            origin: Origin::Late,
            ignored: false,
            spoke: false,
            uncertain: true,
            pipelined: false,
            requests_from: None,
            streams: [Stream::new(), Stream::new()],
            open: VecDeque::new(),
            requests: 0,
            opened_ns: None,
            first_ns: now_ns,
            last_ns: now_ns,
            unrecognised: 0,
            owner: Moment::default(),
            pending_close: None,
            close_drain: 0,
            listed: false,
            family: 0,
            local_port: 0,
            peer_port: 0,
            id_text: Span::new(0, text.len()),
            local: Span::default(),
            peer: Span::default(),
            text,
        }
    }

    /// Takes over what RECORD_OPEN tells.
    pub(super) fn open(&mut self, record: &Record, endpoints: &Endpoints) {
        if endpoints.opened_ns > 0 {
            self.opened_ns = Some(endpoints.opened_ns);
        }
        let seen_from_start =
            record.flags & (flag::CLIENT | flag::SERVER) != 0 && record.flags & flag::LATE == 0;
        if seen_from_start && !self.streams.iter().any(|stream| stream.anchored) {
            self.origin = Origin::Fresh;
            self.uncertain = false;
            for stream in &mut self.streams {
                stream.phase = Phase::Idle;
            }
        }
        self.family = endpoints.family;
        self.local_port = endpoints.local_port;
        self.peer_port = endpoints.peer_port;
        self.text.truncate(16);
        self.local = self.append_address(endpoints.local(), endpoints);
        self.peer = if self.is_unix() {
            self.local
        } else {
            self.append_address(endpoints.peer(), endpoints)
        };
    }

    /// Whether its first message may be told as its opening. A TCP connection whose handshake was not
    /// seen is older than the tracer; of a Unix socket, which has none, the first message is all there is.
    pub(super) fn is_opening_known(&self) -> bool {
        self.opened_ns.is_some() || self.is_unix()
    }

    fn append_address(&mut self, address: &[u8], endpoints: &Endpoints) -> Span {
        let start = self.text.len();
        let _ = match endpoints.family {
            family::INET => write!(self.text, "{}", ipv4(address)),
            family::INET6 => {
                let address = ipv6(address);
                match address.to_ipv4_mapped() {
                    Some(mapped) => write!(self.text, "{mapped}"),
                    None => write!(self.text, "{address}"),
                }
            }
            _ => {
                self.text.push_str(&unix_path(endpoints.unix_path()));
                Ok(())
            }
        };
        Span::new(start, self.text.len())
    }

    pub(super) fn is_unix(&self) -> bool {
        self.family == family::UNIX
    }

    pub(super) fn id_text(&self) -> &str {
        self.id_text.of(&self.text)
    }

    pub(super) fn role(&self) -> &'static str {
        if self.requests_from == Some(SENT) {
            "client"
        } else {
            "server"
        }
    }

    pub(super) fn local(&self) -> EndpointRow<'_> {
        self.endpoint(self.local, self.local_port, RECEIVED)
    }

    pub(super) fn peer(&self) -> EndpointRow<'_> {
        self.endpoint(self.peer, self.peer_port, SENT)
    }

    /// Of a Unix connection only the server's end has a name: it is the local one where
    /// requests are received, the peer where they are sent.
    fn endpoint(&self, address: Span, port: u16, named_when_from: usize) -> EndpointRow<'_> {
        let text = address.of(&self.text);
        match self.family {
            family::INET | family::INET6 => EndpointRow::Tcp {
                address: text,
                port,
            },
            family::UNIX if self.requests_from.unwrap_or(RECEIVED) == named_when_from => {
                EndpointRow::Unix { path: text }
            }
            family::UNIX => EndpointRow::Unix { path: "" },
            _ => EndpointRow::Unknown,
        }
    }

    /// Requests that wait for an answer, as far as they are known.
    pub(super) fn expects_answer(&self) -> bool {
        self.open.iter().any(|entry| !entry.is_unseen())
    }

    pub(super) fn has_held(&self) -> bool {
        !self.streams[RECEIVED].held.is_empty() || !self.streams[SENT].held.is_empty()
    }
}

fn ipv4(address: &[u8]) -> Ipv4Addr {
    let mut octets = [0; 4];
    octets.copy_from_slice(&address[..4]);
    Ipv4Addr::from(octets)
}

fn ipv6(address: &[u8]) -> Ipv6Addr {
    let mut octets = [0; 16];
    octets.copy_from_slice(&address[..16]);
    Ipv6Addr::from(octets)
}

/// As bound; `@` marks the abstract name space.
fn unix_path(bytes: &[u8]) -> String {
    match bytes {
        [0, name @ ..] => format!(
            "@{}",
            String::from_utf8_lossy(name)
                .trim_end_matches('\0')
                .replace('\0', "@")
        ),
        path => {
            let end = path
                .iter()
                .position(|&byte| byte == 0)
                .unwrap_or(path.len());
            String::from_utf8_lossy(&path[..end]).into_owned()
        }
    }
}
