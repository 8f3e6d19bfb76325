//! A request and its answer, from the request's head to the event.

use crate::columns::HeaderFields;

use super::fields::Notes;
use super::head::Version;
use super::limits::{BODY_LOOKAHEAD_BYTES, CUT_BYTES, CUT_PART_BYTES, IDLE_BUFFER_BYTES};
use super::privacy::BodyKind;
use super::request::HeadFault;
use super::trace_context::TraceContext;

/// A part of a text: beginning and end in bytes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    pub(super) fn new(start: usize, end: usize) -> Self {
        Self {
            start: start as u32,
            end: end as u32,
        }
    }

    pub(super) fn of(self, text: &str) -> &str {
        text.get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }
}

/// Who moved bytes, and when: what an event takes from the record with the request's first byte.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moment {
    pub(super) time_ns: u64,
    pub(super) pid: u32,
    pub(super) tid: u32,
    pub(super) comm: [u8; 16],
    pub(super) retransmits: u32,
    /// The kernel saw an exchange begin here.
    pub(super) starts: bool,
}

/// Where the authority was named.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Authority {
    #[default]
    Unknown,
    /// In the request line: a part of `Exchange::line`.
    InLine(Span),
    /// In the Host field: a part of the request's values.
    InHost(Span),
}

/// The first bytes of a body, as they were sent (without chunks).
#[derive(Debug, Default)]
pub(super) struct BodyCapture {
    pub(super) kind: Option<BodyKind>,
    pub(super) bytes: Vec<u8>,
    /// Bytes were missing: what follows does not belong behind `bytes`.
    pub(super) cut: bool,
    /// The body ended behind `bytes`.
    pub(super) whole: bool,
}

impl BodyCapture {
    pub(super) fn begin(&mut self, kind: Option<BodyKind>) {
        self.kind = kind;
        self.bytes.clear();
        self.cut = false;
        self.whole = false;
    }

    /// Whether more bytes are wanted, for `limit` bytes to be shown.
    pub(super) fn wants(&self, limit: usize) -> bool {
        self.kind.is_some()
            && !self.cut
            && !self.whole
            && self.bytes.len() < limit + BODY_LOOKAHEAD_BYTES
    }

    pub(super) fn push(&mut self, bytes: &[u8], limit: usize) {
        if self.wants(limit) {
            let room = limit + BODY_LOOKAHEAD_BYTES - self.bytes.len();
            let taken = bytes.len().min(room);
            self.bytes.extend_from_slice(&bytes[..taken]);
            self.cut = taken < bytes.len();
        } else {
            self.cut |= !bytes.is_empty();
        }
    }
}

/// One exchange. All text in it is masked, except for the captured bodies.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    /// Changes with each use of the slot, so that stale references are noticed.
    pub(super) generation: u32,
    pub(super) first: Moment,
    /// Position of the request's first byte, and behind its last once that is known.
    pub(super) request_start: u64,
    pub(super) request_end: Option<u64>,
    pub(super) version: Version,
    /// Method, path, query and route end to end.
    pub(super) line: String,
    pub(super) method: Option<Span>,
    pub(super) path: Option<Span>,
    pub(super) query: Option<Span>,
    pub(super) route: Option<Span>,
    pub(super) authority: Authority,
    pub(super) user_agent: Option<Span>,
    pub(super) trace: TraceContext,
    pub(super) request: HeaderFields,
    pub(super) has_request_fields: bool,
    pub(super) request_body: BodyCapture,
    pub(super) status: Option<u16>,
    pub(super) response_start: Option<u64>,
    /// First byte of the final answer.
    pub(super) answered_ns: Option<u64>,
    pub(super) response: HeaderFields,
    pub(super) has_response_fields: bool,
    pub(super) content_type: Option<Span>,
    pub(super) response_body: BodyCapture,
    pub(super) streaming: bool,
    pub(super) error: Option<&'static str>,
    /// Smoothed round-trip time and retransmits at the last record; 0 = unknown.
    pub(super) rtt_us: u32,
    pub(super) retransmits: u32,
    /// Bytes of text that were counted for this exchange.
    pub(super) counted: usize,
}

impl Exchange {
    /// Makes the slot ready for another exchange; large buffers are given back.
    pub(super) fn reset(&mut self) {
        if self.line.capacity() + self.request.bytes() + self.response.bytes() > IDLE_BUFFER_BYTES {
            let generation = self.generation;
            *self = Self {
                generation: generation.wrapping_add(1),
                ..Self::default()
            };
            return;
        }
        self.generation = self.generation.wrapping_add(1);
        self.request_end = None;
        self.line.clear();
        self.method = None;
        self.path = None;
        self.query = None;
        self.route = None;
        self.authority = Authority::Unknown;
        self.user_agent = None;
        self.trace.clear();
        self.request.clear();
        self.has_request_fields = false;
        self.request_body.begin(None);
        self.status = None;
        self.response_start = None;
        self.answered_ns = None;
        self.clear_response_fields();
        self.response_body.begin(None);
        self.streaming = false;
        self.error = None;
        self.counted = 0;
    }

    pub(super) fn clear_response_fields(&mut self) {
        self.response.clear();
        self.has_response_fields = false;
        self.content_type = None;
    }

    /// What a request's fields say of it.
    pub(super) fn note_request(&mut self, notes: &Notes, shows_bodies: bool) {
        self.has_request_fields = true;
        self.user_agent = notes.user_agent;
        if let (Authority::Unknown, Some(host)) = (self.authority, notes.host) {
            self.authority = Authority::InHost(host);
        }
        self.request_body
            .begin(notes.body_kind.filter(|_| shows_bodies));
    }

    /// What an answer's fields say of it.
    pub(super) fn note_answer(&mut self, notes: &Notes, shows_bodies: bool) {
        self.has_response_fields = true;
        self.content_type = notes.content_type;
        self.streaming = notes.event_stream;
        self.response_body
            .begin(notes.body_kind.filter(|_| shows_bodies));
    }

    pub(super) fn note_fault(&mut self, is_spoilt: bool, misses_fields: bool, fault: HeadFault) {
        match fault {
            _ if is_spoilt => self.fail("malformed"),
            HeadFault::Cut(error) => self.fail(error),
            HeadFault::None if misses_fields => self.fail("truncated"),
            HeadFault::None => {}
        }
    }

    /// Appends to `line`; the place of what was appended.
    pub(super) fn append(&mut self, text: &str) -> Span {
        let start = self.line.len();
        self.line.push_str(text);
        Span::new(start, self.line.len())
    }

    /// Bytes of text held.
    pub(super) fn bytes(&self) -> usize {
        self.line.len()
            + self.request.bytes()
            + self.response.bytes()
            + self.request_body.bytes.len()
            + self.response_body.bytes.len()
    }

    /// Keeps what identifies the exchange; its event says that something is missing.
    fn cut(&mut self) {
        if let Authority::InHost(host) = self.authority {
            let host = host.of(&self.request.values).to_owned();
            self.authority = Authority::InLine(self.append(&host));
        }
        self.cut_line();
        self.user_agent = None;
        self.request = HeaderFields::default();
        self.clear_response_fields();
        self.response = HeaderFields::default();
        self.request_body = BodyCapture::default();
        self.response_body = BodyCapture::default();
        self.fail("truncated");
    }

    /// Parts of the line that are too long end early.
    fn cut_line(&mut self) {
        let whole = std::mem::take(&mut self.line);
        let mut parts = [self.method, self.path, self.query, self.route, None];
        if let Authority::InLine(authority) = self.authority {
            parts[4] = Some(authority);
        }
        let [method, path, query, route, authority] = parts.map(|part| {
            let part = part?.of(&whole);
            Some(self.append(&part[..boundary_before(part, CUT_PART_BYTES)]))
        });
        (self.method, self.path, self.query, self.route) = (method, path, query, route);
        self.authority = authority.map_or(Authority::Unknown, Authority::InLine);
    }

    /// The first error is the one that is told.
    pub(super) fn fail(&mut self, error: &'static str) {
        self.error.get_or_insert(error);
    }
}

/// The last place of at most `limit` bytes that is not within a character.
fn boundary_before(text: &str, limit: usize) -> usize {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    end
}

/// A reference that notices when the exchange is gone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct ExchangeId {
    slot: u32,
    generation: u32,
}

/// All open exchanges; slots and their buffers are reused.
#[derive(Debug, Default)]
pub(super) struct Exchanges {
    slots: Vec<Exchange>,
    free: Vec<u32>,
    bytes: usize,
    /// What was left when the last one was cut.
    left: usize,
}

impl Exchanges {
    /// Whether there is room for another one's text within `budget` bytes.
    ///
    /// Where it is used up, those that hold most are cut: they are what used it up, others are not affected.
    pub(super) fn make_room(&mut self, budget: usize) -> bool {
        if self.bytes < budget {
            self.left = self.left.min(self.bytes);
            return true;
        }
        if self.bytes > self.left + budget / 16 {
            self.cut_largest(budget / 2);
            self.left = self.bytes;
        }
        self.bytes < budget
    }

    fn cut_largest(&mut self, goal: usize) {
        let mut open: Vec<(usize, usize)> = self
            .slots
            .iter()
            .enumerate()
            .map(|(slot, exchange)| (exchange.counted, slot))
            .filter(|(counted, _)| *counted > CUT_BYTES)
            .collect();
        open.sort_unstable_by(|one, other| other.cmp(one));
        for (counted, slot) in open {
            if self.bytes <= goal {
                break;
            }
            let exchange = &mut self.slots[slot];
            exchange.cut();
            exchange.counted = exchange.bytes();
            self.bytes = self.bytes - counted + exchange.counted;
        }
    }

    pub(super) fn open(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Bytes of text in open exchanges.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn begin(&mut self) -> ExchangeId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Exchange::default());
            (self.slots.len() - 1) as u32
        });
        ExchangeId {
            slot,
            generation: self.slots[slot as usize].generation,
        }
    }

    pub(super) fn get(&mut self, id: ExchangeId) -> Option<&mut Exchange> {
        self.slots
            .get_mut(id.slot as usize)
            .filter(|exchange| exchange.generation == id.generation)
    }

    /// The exchange, or `spare` (empty) where there is none.
    pub(super) fn get_or<'a>(
        &'a mut self,
        id: Option<ExchangeId>,
        spare: &'a mut Exchange,
    ) -> &'a mut Exchange {
        match id.and_then(|id| self.get(id)) {
            Some(exchange) => exchange,
            None => {
                spare.reset();
                spare
            }
        }
    }

    /// Counts the text of `id` anew after something was added.
    pub(super) fn recount(&mut self, id: ExchangeId) {
        let exchange = &mut self.slots[id.slot as usize];
        let bytes = exchange.bytes();
        self.bytes = self.bytes - exchange.counted + bytes;
        exchange.counted = bytes;
    }

    pub(super) fn end(&mut self, id: ExchangeId) {
        let exchange = &mut self.slots[id.slot as usize];
        if exchange.generation == id.generation {
            self.bytes -= exchange.counted;
            exchange.reset();
            self.free.push(id.slot);
        }
    }
}
