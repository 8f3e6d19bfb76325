//! What header fields mean to the decoder, by name.

use ahash::RandomState;
use hashbrown::HashMap;

use super::limits::{REMEMBERED_NAMES, REMEMBERED_VALUE_BYTES};
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

/// A name met before.
#[derive(Debug)]
pub(super) struct Remembered {
    pub(super) meaning: Meaning,
    /// The last value that was looked at for secrets and held none.
    clean_value: String,
}

impl Remembered {
    fn new(meaning: Meaning) -> Self {
        Self {
            meaning,
            clean_value: String::new(),
        }
    }
    pub(super) fn is_clean(&self, value: &str) -> bool {
        self.clean_value == value && !value.is_empty()
    }

    pub(super) fn set_clean(&mut self, value: &str) {
        if value.len() <= REMEMBERED_VALUE_BYTES {
            self.clean_value.clear();
            self.clean_value.push_str(value);
        }
    }
}

/// Meanings of names; those met before are remembered as they were written.
#[derive(Debug)]
pub(super) struct HeaderNames {
    places: HashMap<Box<str>, usize, RandomState>,
    remembered: Vec<Remembered>,
    /// Stands for a name that is not remembered.
    passing: Remembered,
    trace_header: Option<String>,
    span_header: Option<String>,
}

impl HeaderNames {
    pub(super) fn new(trace_header: Option<&str>, span_header: Option<&str>) -> Self {
        Self {
            places: HashMap::default(),
            remembered: Vec::new(),
            passing: Remembered::new(Meaning {
                known: Known::Other,
                masked: false,
            }),
            trace_header: trace_header.map(str::to_ascii_lowercase),
            span_header: span_header.map(str::to_ascii_lowercase),
        }
    }

    pub(super) fn get(&mut self, name: &str, privacy: &mut Privacy) -> &mut Remembered {
        if let Some(&place) = self.places.get(name) {
            return &mut self.remembered[place];
        }
        let meaning = Meaning {
            known: self.look_up(name),
            masked: privacy.masks_header(name),
        };
        if self.remembered.len() >= REMEMBERED_NAMES || name.len() > 64 {
            self.passing = Remembered::new(meaning);
            return &mut self.passing;
        }
        let place = self.remembered.len();
        self.places.insert(name.into(), place);
        self.remembered.push(Remembered::new(meaning));
        &mut self.remembered[place]
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
