//! What header fields mean to the decoder, by name.

use ahash::RandomState;
use hashbrown::HashMap;

use super::limits::REMEMBERED_NAMES;
use super::privacy::Privacy;

/// Fields that the decoder reads itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Known {
    Other,
    Host,
    ContentLength,
    TransferEncoding,
    Connection,
    Upgrade,
    Expect,
    UserAgent,
    ContentType,
    ContentEncoding,
    TraceParent,
    B3,
    B3TraceId,
    B3SpanId,
    UberTraceId,
    NamedTrace,
    NamedSpan,
}

const KNOWN: [(&str, Known); 14] = [
    ("host", Known::Host),
    ("content-length", Known::ContentLength),
    ("transfer-encoding", Known::TransferEncoding),
    ("connection", Known::Connection),
    ("upgrade", Known::Upgrade),
    ("expect", Known::Expect),
    ("user-agent", Known::UserAgent),
    ("content-type", Known::ContentType),
    ("content-encoding", Known::ContentEncoding),
    ("traceparent", Known::TraceParent),
    ("b3", Known::B3),
    ("x-b3-traceid", Known::B3TraceId),
    ("x-b3-spanid", Known::B3SpanId),
    ("uber-trace-id", Known::UberTraceId),
];

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Meaning {
    pub(super) known: Known,
    pub(super) masked: bool,
}

/// Meanings of names; those met before are remembered as they were written.
#[derive(Debug)]
pub(super) struct HeaderNames {
    remembered: HashMap<Box<str>, Meaning, RandomState>,
    trace_header: Option<String>,
    span_header: Option<String>,
}

impl HeaderNames {
    pub(super) fn new(trace_header: Option<&str>, span_header: Option<&str>) -> Self {
        Self {
            remembered: HashMap::default(),
            trace_header: trace_header.map(str::to_ascii_lowercase),
            span_header: span_header.map(str::to_ascii_lowercase),
        }
    }

    pub(super) fn meaning(&mut self, name: &str, privacy: &mut Privacy) -> Meaning {
        if let Some(&meaning) = self.remembered.get(name) {
            return meaning;
        }
        let meaning = Meaning {
            known: self.look_up(name),
            masked: privacy.masks_header(name),
        };
        if self.remembered.len() < REMEMBERED_NAMES && name.len() <= 64 {
            self.remembered.insert(name.into(), meaning);
        }
        meaning
    }

    fn look_up(&self, name: &str) -> Known {
        let is = |other: &Option<String>| {
            other
                .as_deref()
                .is_some_and(|other| other.eq_ignore_ascii_case(name))
        };
        match KNOWN
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
        {
            Some(&(_, known)) => known,
            None if is(&self.trace_header) => Known::NamedTrace,
            None if is(&self.span_header) => Known::NamedSpan,
            None => Known::Other,
        }
    }
}
