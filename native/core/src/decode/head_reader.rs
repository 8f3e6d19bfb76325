//! Reads heads: finds their fields, and stores them masked.

use std::borrow::Cow;

use memchr::memchr;

use crate::columns::HeaderFields;

use super::fields::{self, Notes};
use super::head::{self, FieldRanges, Side};
use super::header_names::HeaderNames;
use super::privacy::Privacy;
use super::repeats::{RepeatedId, Repeats};
use super::trace_context::TraceContext;

#[derive(Debug)]
pub(super) struct HeadReader {
    pub(super) privacy: Privacy,
    names: HeaderNames,
    /// The fields of the head at hand.
    ranges: FieldRanges,
    repeats: Repeats,
    /// The head at hand is one of `repeats`; `ranges` is empty then.
    repeated: Option<RepeatedId>,
    /// The head at hand is there to its end.
    is_whole: bool,
    /// Trace identifiers of answers, which mean nothing.
    unused_trace: TraceContext,
}

impl HeadReader {
    pub(super) fn new(privacy: Privacy, names: HeaderNames) -> Self {
        Self {
            privacy,
            names,
            ranges: FieldRanges::default(),
            repeats: Repeats::default(),
            repeated: None,
            is_whole: false,
            unused_trace: TraceContext::default(),
        }
    }

    /// Finds the fields of the head in `bytes`, whose start line ends before `lines`. Returns
    /// where the head ends; `None`: it is not there to its end.
    pub(super) fn find_fields(&mut self, bytes: &[u8], lines: usize, side: Side) -> Option<usize> {
        if let Some((id, length)) = self.repeats.find(side, &bytes[lines..]) {
            self.repeated = Some(id);
            self.ranges.clear();
            return Some(lines + length);
        }
        self.repeated = None;
        let end = self.ranges.read(bytes, lines, side);
        self.is_whole = end.is_some();
        end
    }

    /// Finds the fields of a head that was cut off: those whose lines are there.
    pub(super) fn find_fields_of_cut(&mut self, bytes: &[u8], lines: usize, side: Side) {
        self.repeated = None;
        self.is_whole = false;
        self.ranges.read(bytes, lines, side);
    }

    /// The head at hand as text. Bytes that are no UTF-8 are replaced, and the fields found anew.
    pub(super) fn text<'a>(&mut self, head: &'a [u8], side: Side) -> Cow<'a, str> {
        let text = head::to_text(head);
        if matches!(text, Cow::Owned(_)) && self.repeated.is_none() {
            let malformed = self.ranges.malformed;
            self.ranges
                .read(text.as_bytes(), behind_first_line(&text), side);
            self.ranges.malformed |= malformed;
        }
        text
    }

    /// Stores the fields of a request's head at hand.
    pub(super) fn store_request(
        &mut self,
        text: &str,
        out: &mut HeaderFields,
        trace: &mut TraceContext,
    ) -> Notes {
        if let Some(id) = self.repeated {
            return self.store_repeated(id, out);
        }
        let notes = fields::store(
            text,
            &self.ranges,
            &mut self.names,
            &mut self.privacy,
            out,
            trace,
        );
        if !trace.is_known() {
            self.learn(Side::Request, text, out, &notes);
        }
        notes
    }

    /// Stores the fields of an answer's head at hand.
    pub(super) fn store_answer(&mut self, text: &str, out: &mut HeaderFields) -> Notes {
        if let Some(id) = self.repeated {
            return self.store_repeated(id, out);
        }
        let trace = &mut self.unused_trace;
        let notes = fields::store(
            text,
            &self.ranges,
            &mut self.names,
            &mut self.privacy,
            out,
            trace,
        );
        self.unused_trace.clear();
        self.learn(Side::Response, text, out, &notes);
        notes
    }

    fn store_repeated(&mut self, id: RepeatedId, out: &mut HeaderFields) -> Notes {
        let repeated = self.repeats.get(id);
        out.copy_from(&repeated.fields);
        repeated.notes.clone()
    }

    fn learn(&mut self, side: Side, text: &str, stored: &HeaderFields, notes: &Notes) {
        let is_well_formed = self.is_whole && !notes.malformed && !notes.cut && text.is_ascii();
        if is_well_formed {
            let lines = &text.as_bytes()[behind_first_line(text)..];
            self.repeats.learn(side, lines, stored, notes);
        }
    }
}

fn behind_first_line(text: &str) -> usize {
    memchr(b'\n', text.as_bytes()).map_or(text.len(), |end| end + 1)
}
