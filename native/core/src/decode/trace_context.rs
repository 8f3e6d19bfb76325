//! Trace identifiers that a request's header fields carry.
//!
//! W3C `traceparent`, B3 in one field or several, `uber-trace-id` are always understood, the
//! fields that the user named as well. What is not well-formed is as if it were not there.

use super::header_names::Known;

/// Longest identifier in a field that the user named.
const NAMED_ID_BYTES: usize = 128;

/// The identifiers of one request.
#[derive(Debug, Default)]
pub(super) struct TraceContext {
    pub(super) trace_id: String,
    pub(super) parent_span_id: String,
    /// How sure the source of these two is; 0 = none.
    rank: u8,
}

impl TraceContext {
    pub(super) fn clear(&mut self) {
        self.trace_id.clear();
        self.parent_span_id.clear();
        self.rank = 0;
    }

    pub(super) fn is_known(&self) -> bool {
        !self.trace_id.is_empty()
    }

    /// Takes a header field's value into account.
    pub(super) fn read(&mut self, known: Known, value: &str) {
        match known {
            Known::TraceParent => self.set_both(3, trace_parent(value)),
            Known::B3 => self.set_both(2, single_b3(value)),
            Known::UberTraceId => self.set_both(1, uber(value)),
            Known::B3TraceId if is_id(value, &[16, 32]) => self.set_trace(2, value),
            Known::B3SpanId if is_id(value, &[16]) => self.set_parent(2, value),
            Known::NamedTrace if is_named(value) => self.set_trace(4, value),
            Known::NamedSpan if is_named(value) => self.set_parent(4, value),
            _ => {}
        }
    }

    fn set_both(&mut self, rank: u8, ids: Option<(String, String)>) {
        if let Some((trace_id, parent_span_id)) = ids.filter(|_| rank > self.rank) {
            self.rank = rank;
            self.trace_id = trace_id;
            self.parent_span_id = parent_span_id;
        }
    }

    fn set_trace(&mut self, rank: u8, trace_id: &str) {
        self.begin_pair(rank, |this| {
            this.trace_id.clear();
            this.trace_id.push_str(trace_id);
            this.trace_id.make_ascii_lowercase();
        });
    }

    fn set_parent(&mut self, rank: u8, span_id: &str) {
        self.begin_pair(rank, |this| {
            this.parent_span_id.clear();
            this.parent_span_id.push_str(span_id);
            this.parent_span_id.make_ascii_lowercase();
        });
    }

    /// Of two fields that belong together the first clears what a lesser source said.
    fn begin_pair(&mut self, rank: u8, set: impl FnOnce(&mut Self)) {
        if rank < self.rank {
            return;
        }
        if rank > self.rank {
            self.clear();
            self.rank = rank;
        }
        set(self);
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_id(text: &str, lengths: &[usize]) -> bool {
    lengths.contains(&text.len()) && is_hex(text) && text.bytes().any(|byte| byte != b'0')
}

fn is_named(text: &str) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
    (1..=NAMED_ID_BYTES).contains(&text.len()) && text.bytes().all(allowed)
}

/// `00-TRACE32-PARENT16-FLAGS2`; versions to come may add more behind.
fn trace_parent(value: &str) -> Option<(String, String)> {
    if value.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let mut parts = value.split('-');
    let (version, trace, parent, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let version_is_fine = version.len() == 2 && is_hex(version) && version != "ff";
    let length_is_fine = version != "00" || value.len() == 55;
    let flags_are_fine = flags.len() == 2 && is_hex(flags);
    let fine = version_is_fine
        && length_is_fine
        && flags_are_fine
        && is_id(trace, &[32])
        && is_id(parent, &[16]);
    fine.then(|| (trace.to_owned(), parent.to_owned()))
}

/// `TRACE-SPAN`, `TRACE-SPAN-SAMPLED`, `TRACE-SPAN-SAMPLED-PARENT`.
fn single_b3(value: &str) -> Option<(String, String)> {
    let mut parts = value.split('-');
    let (trace, span) = (parts.next()?, parts.next()?);
    let fine = is_id(trace, &[16, 32])
        && is_id(span, &[16])
        && parts
            .next()
            .is_none_or(|sampled| matches!(sampled, "0" | "1" | "d"))
        && parts.next().is_none_or(|parent| is_id(parent, &[16]))
        && parts.next().is_none();
    fine.then(|| (trace.to_ascii_lowercase(), span.to_ascii_lowercase()))
}

/// `TRACE:SPAN:PARENT:FLAGS`, leading zeros left out or not, colons percent-encoded or not.
fn uber(value: &str) -> Option<(String, String)> {
    let decoded;
    let value = if value.contains('%') {
        decoded = value.replace("%3A", ":").replace("%3a", ":");
        &decoded
    } else {
        value
    };
    let mut parts = value.split(':');
    let (trace, span, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_number =
        |text: &str, longest: usize| (1..=longest).contains(&text.len()) && is_hex(text);
    let fine = is_number(trace, 32)
        && is_number(span, 16)
        && is_number(parent, 16)
        && is_number(flags, 2)
        && parts.next().is_none()
        && [trace, span]
            .iter()
            .all(|id| id.bytes().any(|byte| byte != b'0'));
    let width = if trace.len() > 16 { 32 } else { 16 };
    fine.then(|| {
        (
            format!("{trace:0>width$}").to_ascii_lowercase(),
            format!("{span:0>16}").to_ascii_lowercase(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn read(fields: &[(Known, &str)]) -> (String, String) {
        let mut context = TraceContext::default();
        for (known, value) in fields {
            context.read(*known, value);
        }
        (context.trace_id, context.parent_span_id)
    }

    #[test]
    fn well_formed_fields_are_understood() {
        let both = (TRACE.to_owned(), SPAN.to_owned());
        for fields in [
            &[(Known::TraceParent, format!("00-{TRACE}-{SPAN}-01"))][..],
            &[(Known::TraceParent, format!("cc-{TRACE}-{SPAN}-01-more"))],
            &[(Known::B3, format!("{TRACE}-{SPAN}-1-05e3ac9a4f6e3b90"))],
            &[(Known::B3, format!("{}-{SPAN}", TRACE.to_uppercase()))],
            &[
                (Known::B3SpanId, SPAN.to_owned()),
                (Known::B3TraceId, TRACE.to_owned()),
            ],
            &[(Known::UberTraceId, format!("{TRACE}:f067aa0ba902b7:0:1"))],
            &[(
                Known::UberTraceId,
                format!("{TRACE}%3Af067aa0ba902b7%3a0%3A1"),
            )],
        ] {
            let fields: Vec<(Known, &str)> = fields
                .iter()
                .map(|(known, value)| (*known, value.as_str()))
                .collect();
            assert_eq!(read(&fields), both, "{fields:?}");
        }
        assert_eq!(
            read(&[(Known::UberTraceId, "1f:2e:0:1")]),
            ("000000000000001f".into(), "000000000000002e".into())
        );
        assert_eq!(
            read(&[(Known::NamedTrace, "Req.42")]),
            ("req.42".into(), String::new())
        );
    }

    #[test]
    fn malformed_fields_are_ignored() {
        for (known, value) in [
            (Known::TraceParent, format!("00-{TRACE}-{SPAN}-01-more")),
            (Known::TraceParent, format!("ff-{TRACE}-{SPAN}-01")),
            (
                Known::TraceParent,
                format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            ),
            (
                Known::TraceParent,
                format!("00-{}-{SPAN}-01", "0".repeat(32)),
            ),
            (Known::TraceParent, format!("00-{TRACE}-{SPAN}")),
            (Known::B3, "0".into()),
            (Known::B3, format!("{TRACE}-{SPAN}-x")),
            (Known::B3TraceId, "12".into()),
            (Known::UberTraceId, "0:0:0:0".into()),
            (Known::UberTraceId, "1:2:3".into()),
            (Known::NamedTrace, "a b".into()),
        ] {
            assert_eq!(
                read(&[(known, &value)]),
                (String::new(), String::new()),
                "{known:?} {value}"
            );
        }
    }

    #[test]
    fn the_surer_source_wins_in_any_order() {
        let parent = format!("00-{TRACE}-{SPAN}-01");
        let fields = [
            (Known::UberTraceId, "1f:2e:0:1"),
            (Known::TraceParent, parent.as_str()),
        ];
        assert_eq!(read(&fields).0, TRACE);
        assert_eq!(read(&[fields[1], fields[0]]).0, TRACE);
    }
}
