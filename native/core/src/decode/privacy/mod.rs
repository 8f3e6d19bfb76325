//! Masking: what is secret never gets into a column.
//!
//! Two kinds of secrets: values whose *name* is sensitive ([`names`]) and what is sensitive by
//! its *shape* ([`shapes`]), plain or percent-encoded. Masked parts read `***`, names are kept.

mod bodies;
mod decoding;
mod json;
mod names;
mod shapes;
mod texts;

use std::ops::Range;

use ahash::RandomState;
use hashbrown::HashMap;
use memchr::{memchr, memchr2};

use super::limits::REMEMBERED_NAMES;
pub(super) use bodies::{BodyKind, media_type};
use decoding::Decoded;
use names::SensitiveNames;
use shapes::Shapes;
pub use texts::TextMask;

pub(super) const MASK: &str = "***";

/// What may leave the process; the configuration's `privacy` section.
#[derive(Clone, Debug)]
pub struct PrivacySettings {
    /// Mask personal data and credentials by shape.
    pub enable_pii_filtering: bool,
    /// Mask header fields that carry credentials.
    pub mask_sensitive_headers: bool,
    /// Parts of names (or `/regular expressions/`) whose values are masked: of header fields,
    /// query and form fields, JSON keys.
    pub exclude_patterns: Vec<String>,
    /// Bytes of each body that may leave; 0 = none.
    pub max_payload_capture: usize,
}

impl Default for PrivacySettings {
    fn default() -> Self {
        Self {
            enable_pii_filtering: true,
            mask_sensitive_headers: true,
            exclude_patterns: ["password", "token", "secret"].map(str::to_owned).to_vec(),
            max_payload_capture: 256,
        }
    }
}

/// The masker, with the memory that it reuses.
#[derive(Debug)]
pub(super) struct Privacy {
    by_shape: bool,
    names: SensitiveNames,
    shapes: Shapes,
    decoded: Decoded,
    name: Decoded,
    /// The text as a whole was looked at: there is nothing to find in its parts.
    calm: bool,
    /// Names of fields met before, as they were written: are they sensitive?
    remembered: HashMap<Box<[u8]>, bool, RandomState>,
    found: Vec<Range<usize>>,
    in_decoded: Vec<Range<usize>>,
}

impl Privacy {
    pub(super) fn new(settings: &PrivacySettings) -> Self {
        Self {
            by_shape: settings.enable_pii_filtering,
            names: SensitiveNames::new(
                &settings.exclude_patterns,
                settings.mask_sensitive_headers,
                settings.enable_pii_filtering,
            ),
            shapes: Shapes::new(),
            decoded: Decoded::default(),
            name: Decoded::default(),
            calm: false,
            remembered: HashMap::default(),
            found: Vec::new(),
            in_decoded: Vec::new(),
        }
    }

    pub(super) fn masks_header(&mut self, name: &str) -> bool {
        self.names.header(name)
    }

    /// Whether anything in `text` needs a closer look by [`Privacy::mask_text`].
    pub(super) fn suspects(&self, text: &[u8]) -> bool {
        if self.by_shape {
            self.shapes.may_contain(text)
        } else {
            memchr2(b'?', b'%', text).is_some()
        }
    }

    /// Appends `text` to `out`, secrets masked: shapes, and values in URLs by their names. Tells
    /// whether there were any.
    pub(super) fn mask_text(&mut self, text: &str, out: &mut String) -> bool {
        self.find_in(text.as_bytes(), false);
        self.write(text, out);
        !self.found.is_empty()
    }

    /// Appends a query (without `?`) or a form to `out`, masked by names and by shapes.
    pub(super) fn mask_pairs(&mut self, pairs: &str, out: &mut String) {
        let suspicious =
            self.by_shape && self.shapes.may_contain(pairs.as_bytes()) || pairs.contains('+');
        for (index, pair) in pairs.split('&').enumerate() {
            if index > 0 {
                out.push('&');
            }
            self.mask_pair(pair, suspicious, out);
        }
    }

    fn mask_pair(&mut self, pair: &str, suspicious: bool, out: &mut String) {
        let Some(equals) = memchr(b'=', pair.as_bytes()) else {
            return self.mask_value(pair, suspicious, out);
        };
        let (name, value) = (&pair[..equals], &pair[equals + 1..]);
        self.mask_value(name, suspicious, out);
        out.push('=');
        if self.is_sensitive_field(name.as_bytes()) {
            out.push_str(MASK);
        } else {
            self.mask_value(value, suspicious, out);
        }
    }

    fn mask_value(&mut self, value: &str, suspicious: bool, out: &mut String) {
        if !suspicious {
            return out.push_str(value);
        }
        self.find_in(value.as_bytes(), true);
        self.write(value, out);
    }

    /// Whether a field of this name, possibly percent-encoded, is to be masked.
    fn is_sensitive_field(&mut self, name: &[u8]) -> bool {
        if let Some(&sensitive) = self.remembered.get(name) {
            return sensitive;
        }
        let sensitive = self.look_at_field(name);
        if self.remembered.len() < REMEMBERED_NAMES && name.len() <= 64 {
            self.remembered.insert(name.into(), sensitive);
        }
        sensitive
    }

    fn look_at_field(&mut self, name: &[u8]) -> bool {
        self.name.decode(name, true);
        let name = String::from_utf8_lossy(&self.name.bytes);
        self.names.field(&name)
    }

    /// Fills `found` with the secrets in `text`, sorted and apart.
    fn find_in(&mut self, text: &[u8], plus_is_blank: bool) {
        self.found.clear();
        if self.calm || (!self.suspects(text) && memchr(b'=', text).is_none()) {
            return;
        }
        if self.by_shape {
            self.shapes.find(text, &mut self.found);
        }
        self.find_named(text);
        let plus = plus_is_blank && memchr(b'+', text).is_some();
        if plus || memchr(b'%', text).is_some() {
            let mut decoded = std::mem::take(&mut self.decoded);
            decoded.decode(text, plus_is_blank);
            std::mem::swap(&mut self.found, &mut self.in_decoded);
            self.found.clear();
            if self.by_shape {
                self.shapes.find(&decoded.bytes, &mut self.found);
            }
            self.find_named(&decoded.bytes);
            for place in &mut self.found {
                *place = decoded.origin(place);
            }
            self.found.append(&mut self.in_decoded);
            self.decoded = decoded;
        }
        merge(&mut self.found);
    }

    /// Values behind `name=` in URLs and parameters within `text`.
    fn find_named(&mut self, text: &[u8]) {
        let begins =
            |byte: u8| matches!(byte, b'?' | b'&' | b';' | b'#' | b',' | b' ' | b'"' | b'\'');
        let ends = |byte: u8| {
            matches!(
                byte,
                b'&' | b';' | b'#' | b'"' | b'\'' | b'<' | b'>' | b'\r' | b'\n' | b' '
            )
        };
        let mut at = 0;
        while let Some(equals) = memchr(b'=', &text[at..]).map(|offset| at + offset) {
            let start = text[at..equals]
                .iter()
                .rposition(|&byte| begins(byte))
                .map_or(at, |place| at + place + 1);
            at = equals + 1;
            if self.is_sensitive_field(&text[start..equals]) {
                let end = text[at..]
                    .iter()
                    .position(|&byte| ends(byte))
                    .map_or(text.len(), |length| at + length);
                self.found.push(at..end);
                at = end;
            }
        }
    }

    /// Appends `text` with the places in `found` masked.
    fn write(&self, text: &str, out: &mut String) {
        let mut written = 0;
        for place in &self.found {
            let (start, end) = widen(text, place);
            if start < end && start >= written {
                out.push_str(&text[written..start]);
                out.push_str(MASK);
                written = end;
            }
        }
        out.push_str(&text[written..]);
    }
}

/// The place, widened to whole characters.
fn widen(text: &str, place: &Range<usize>) -> (usize, usize) {
    let (mut start, mut end) = (place.start, place.end.min(text.len()));
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    while !text.is_char_boundary(end) {
        end += 1;
    }
    (start, end)
}

/// Sorts places and joins those that overlap or touch.
fn merge(places: &mut Vec<Range<usize>>) {
    places.retain(|place| place.start < place.end);
    places.sort_unstable_by_key(|place| place.start);
    places.dedup_by(|next, before| {
        let joins = next.start <= before.end;
        if joins {
            before.end = before.end.max(next.end);
        }
        joins
    });
}
