//! Whole messages in whole operations.

use crate::support::{FIRST_RECEIVED, Socket, UNIX_OFFSET_NS, Way::In, Way::Out};

const GET: &str =
    "GET /users/42?page=2 HTTP/1.1\r\nHost: api.example.org\r\nUser-Agent: curl/8\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello";

#[test]
fn one_request_fills_every_column() {
    let mut socket = Socket::server();
    socket.op(In, GET).op(Out, OK);
    let taken = socket.take();
    let row = &taken.http[0];
    let start_ns = UNIX_OFFSET_NS + 1_001_000_000;
    for (column, value) in [
        ("timestamp", "2026-11-23T12:34:57.001000Z"),
        ("timestamp_ns", start_ns.to_string().as_str()),
        ("pid", "42"),
        ("tid", "43"),
        ("comm", "worker"),
        ("protocol", "HTTP/1.1"),
        ("role", "server"),
        ("method", "GET"),
        ("path", "/users/42"),
        ("query", "page=2"),
        ("route", "/users/{id}"),
        ("authority", "api.example.org"),
        ("status", "200"),
        ("latency_ms", "1"),
        ("ttfb_ms", "1"),
        ("request_bytes", GET.len().to_string().as_str()),
        ("response_bytes", OK.len().to_string().as_str()),
        ("streaming", "false"),
        ("local", "127.0.0.1|8080|-"),
        ("peer", "10.1.2.3|50000|-"),
        ("connection_id", "0000000000000007"),
        (
            "request_id",
            format!("0000000000000007-{FIRST_RECEIVED:08x}").as_str(),
        ),
        ("trace_id", "-"),
        ("span_id", "-"),
        ("parent_span_id", "-"),
        ("request_headers", "Host|api.example.org; User-Agent|curl/8"),
        (
            "response_headers",
            "Content-Type|text/plain; Content-Length|5",
        ),
        ("request_body", "-"),
        ("response_body", "hello"),
        ("user_agent", "curl/8"),
        ("content_type", "text/plain"),
        ("error", "-"),
        ("tcp", "150|0"),
    ] {
        assert_eq!(row.get(column), value, "{column}");
    }
    assert_eq!(taken.http.len(), 1);
    assert_eq!(taken.connection.len(), 1);
    assert_eq!(taken.losses, []);
}
