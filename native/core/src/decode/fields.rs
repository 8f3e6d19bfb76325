//! Header fields: kept for the event, masked, and read for what they say about the body.

use memchr::memchr;

use crate::columns::HeaderFields;

use super::exchange::Span;
use super::head::{FieldRange, FieldRanges};
use super::header_names::{HeaderNames, Known};
use super::privacy::{BodyKind, MASK, Privacy, media_type};
use super::trace_context::TraceContext;

/// What the fields of a head say.
#[derive(Clone, Debug, Default)]
pub(super) struct Notes {
    /// The head is no well-formed one.
    pub(super) malformed: bool,
    /// Fields beyond the limit were left out.
    pub(super) cut: bool,
    pub(super) content_length: Option<u64>,
    /// Lengths that contradict each other or are none.
    pub(super) bad_length: bool,
    /// `chunked` is the last transfer coding.
    pub(super) chunked: bool,
    /// There are transfer codings.
    pub(super) coded: bool,
    pub(super) upgrades: bool,
    pub(super) expects_continue: bool,
    /// Places in the values.
    pub(super) host: Option<Span>,
    pub(super) user_agent: Option<Span>,
    pub(super) content_type: Option<Span>,
    /// The body is text that may be shown; `None` as well where it is compressed.
    pub(super) body_kind: Option<BodyKind>,
    pub(super) event_stream: bool,
    compressed: bool,
}

/// Appends the fields of `head` to `out`.
pub(super) fn store(
    head: &str,
    ranges: &FieldRanges,
    names: &mut HeaderNames,
    privacy: &mut Privacy,
    out: &mut HeaderFields,
    trace: &mut TraceContext,
) -> Notes {
    let mut notes = Notes {
        malformed: ranges.malformed || memchr(0, head.as_bytes()).is_some(),
        cut: ranges.cut,
        ..Notes::default()
    };
    for field in &ranges.fields {
        let FieldRange { name, value } = *field;
        let name = &head[name.0 as usize..name.1 as usize];
        let mut value = &head[value.0 as usize..value.1 as usize];
        let unfolded;
        if ranges.folded && memchr(b'\n', value.as_bytes()).is_some() {
            unfolded = value.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
            value = &unfolded;
        }
        let remembered = names.get(name, privacy);
        let meaning = remembered.meaning;
        let start = out.values.len();
        out.names.push_str(name);
        if meaning.masked {
            out.values.push_str(MASK);
        } else if meaning.known == Known::Host && value.contains('@') {
            push_host(value, &mut out.values);
        } else if remembered.is_clean(value) {
            out.values.push_str(value);
        } else if !privacy.suspects(value.as_bytes()) {
            remembered.set_clean(value);
            out.values.push_str(value);
        } else if !privacy.mask_text(value, &mut out.values) {
            remembered.set_clean(value);
        }
        out.end_field();
        if meaning.known != Known::Other {
            notes.read(meaning.known, value, Span::new(start, out.values.len()));
            trace.read(meaning.known, value);
        }
    }
    if notes.compressed {
        notes.body_kind = None;
    }
    notes
}

/// Digits and nothing else, as a number.
fn parse_digits(text: &str) -> Option<u64> {
    if text.is_empty() || text.len() > 20 {
        return None;
    }
    text.bytes().try_fold(0u64, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// User information does not belong there, and is a secret if it is.
fn push_host(value: &str, out: &mut String) {
    let at = value.rfind('@').unwrap_or(0);
    out.push_str(MASK);
    out.push_str(&value[at..]);
}

impl Notes {
    /// Whether the end of a request with these fields cannot be trusted.
    pub(super) fn spoils_request(&self) -> bool {
        self.malformed || self.bad_length || (self.coded && !self.chunked)
    }

    /// Whether the end of an answer with these fields cannot be trusted.
    pub(super) fn spoils_answer(&self) -> bool {
        self.malformed || self.bad_length
    }

    fn read(&mut self, known: Known, value: &str, place: Span) {
        match known {
            Known::Host => self.host = Some(place),
            Known::UserAgent => self.user_agent = Some(place),
            Known::ContentLength => self.read_length(value),
            Known::TransferEncoding => self.read_codings(value),
            Known::Upgrade => self.upgrades = true,
            Known::Expect => self.expects_continue = value.eq_ignore_ascii_case("100-continue"),
            Known::ContentType => {
                self.content_type = Some(place);
                self.body_kind = BodyKind::of(value);
                self.event_stream = media_type(value).eq_ignore_ascii_case("text/event-stream");
            }
            Known::ContentEncoding => self.compressed = !value.eq_ignore_ascii_case("identity"),
            _ => {}
        }
    }

    /// Equal lengths may be repeated, in fields or in a list (RFC 9110, 8.6).
    fn read_length(&mut self, value: &str) {
        if let (None, Some(length)) = (self.content_length, parse_digits(value)) {
            self.content_length = Some(length);
            return;
        }
        for length in value.split(',').map(str::trim) {
            match parse_digits(length) {
                Some(length) if self.content_length.is_none_or(|known| known == length) => {
                    self.content_length = Some(length);
                }
                _ => self.bad_length = true,
            }
        }
    }

    fn read_codings(&mut self, value: &str) {
        if value.eq_ignore_ascii_case("chunked") {
            (self.coded, self.chunked) = (true, true);
            return;
        }
        for coding in value
            .split(',')
            .map(str::trim)
            .filter(|coding| !coding.is_empty())
        {
            let name = coding.split(';').next().unwrap_or_default().trim();
            if name.eq_ignore_ascii_case("identity") {
                continue;
            }
            self.coded = true;
            self.chunked = name.eq_ignore_ascii_case("chunked");
        }
    }
}
