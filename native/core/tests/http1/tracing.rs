//! Trace identifiers in requests.

use universal_tracer_core::decode::DecodeSettings;
use universal_tracer_core::records::flag;

use crate::support::{Socket, Way::In, Way::Out, ok};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

fn ids(fields: &str) -> (String, String, String) {
    let settings = DecodeSettings {
        trace_header: Some("X-Trace-ID".to_owned()),
        span_header: Some("x-span-id".to_owned()),
        ..DecodeSettings::default()
    };
    let mut socket = Socket::new(settings);
    socket.open(flag::SERVER);
    socket
        .op(In, format!("GET / HTTP/1.1\r\n{fields}\r\n"))
        .op(Out, ok(""));
    let row = &socket.http()[0];
    (
        row.get("trace_id").to_owned(),
        row.get("parent_span_id").to_owned(),
        row.get("span_id").to_owned(),
    )
}

#[test]
fn identifiers_are_taken_over_and_a_span_is_made() {
    for fields in [
        format!("TraceParent: 00-{TRACE}-{SPAN}-01\r\n"),
        format!("b3: {TRACE}-{SPAN}-1\r\n"),
        format!("X-B3-TraceId: {TRACE}\r\nX-B3-SpanId: {SPAN}\r\n"),
        format!("uber-trace-id: {TRACE}:{SPAN}:0:1\r\n"),
        format!(
            "x-trace-id: {TRACE}\r\nX-Span-ID: {SPAN}\r\ntraceparent: 00-{SPAN}{SPAN}-{SPAN}-00\r\n"
        ),
    ] {
        let (trace, parent, span) = ids(&fields);
        assert_eq!((trace.as_str(), parent.as_str()), (TRACE, SPAN), "{fields}");
        assert!(
            span.len() == 16 && span != parent && span.bytes().all(|byte| byte.is_ascii_hexdigit())
        );
        assert_ne!(span, ids(&fields).2, "each request has a span of its own");
    }
}

#[test]
fn without_identifiers_there_are_none() {
    for fields in ["", "traceparent: 00-xyz\r\n", "b3: 0\r\n"] {
        assert_eq!(
            ids(fields),
            ("-".to_owned(), "-".to_owned(), "-".to_owned())
        );
    }
    let (trace, parent, span) = ids("X-Trace-ID: request-1\r\n");
    assert_eq!((trace.as_str(), parent.as_str()), ("request-1", "-"));
    assert_ne!(span, "-");
}
