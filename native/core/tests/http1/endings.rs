//! Requests that are cut off, reset, or never answered.

use universal_tracer_core::decode::DecodeSettings;
use universal_tracer_core::records::flag;

use crate::support::{Row, Socket, Way::In, Way::Out, brief, get, ok};

fn closed_after(play: impl Fn(&mut Socket), flags: u16) -> Vec<Row> {
    let mut socket = Socket::server();
    play(&mut socket);
    socket.close(flags);
    let rows = socket.http();
    assert_eq!(socket.decoder.open(), (0, 0));
    rows
}

#[test]
fn connections_may_end_before_answers_do() {
    type Play = fn(&mut Socket);
    let cases: [(&str, Play, &str); 7] = [
        (
            "no answer",
            |s| {
                s.op(In, get("/a"));
            },
            "GET /a -",
        ),
        (
            "part of a head",
            |s| {
                s.op(In, get("/a")).op(Out, "HTTP/1.1 200 O");
            },
            "GET /a -",
        ),
        (
            "a status line",
            |s| {
                s.op(In, get("/a")).op(Out, "HTTP/1.1 200 OK\r\nA: b");
            },
            "GET /a 200",
        ),
        (
            "part of a body",
            |s| {
                s.op(In, get("/a"))
                    .op(Out, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab");
            },
            "GET /a 200",
        ),
        (
            "chunks",
            |s| {
                s.op(In, get("/a")).op(
                    Out,
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
                );
            },
            "GET /a 200",
        ),
        (
            "request line",
            |s| {
                s.op(In, "GET /a HTTP/1.1\r\nHos");
            },
            "GET /a -",
        ),
        (
            "request body",
            |s| {
                s.op(In, "POST /a HTTP/1.1\r\nContent-Length: 9\r\n\r\nab");
            },
            "POST /a -",
        ),
    ];
    for (what, play, brief_row) in cases {
        assert_eq!(
            brief(&closed_after(play, 0)),
            [format!("{brief_row} closed")],
            "{what}"
        );
        assert_eq!(
            brief(&closed_after(play, flag::RESET)),
            [format!("{brief_row} reset")],
            "{what}"
        );
    }
}

#[test]
fn times_and_bytes_of_what_was_cut_off() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab";
    let rows = closed_after(
        |socket| {
            socket.op(In, get("/a")).op(Out, head).wait(10);
        },
        0,
    );
    assert_eq!(
        rows[0].some("ttfb_ms latency_ms response_bytes"),
        format!("1 12 {}", head.len())
    );
    let rows = closed_after(
        |socket| {
            socket.op(In, get("/a"));
        },
        0,
    );
    assert_eq!(
        rows[0].some("ttfb_ms latency_ms response_bytes response_headers"),
        "- 1 0 -"
    );
}

#[test]
fn half_a_request_line_is_no_event() {
    assert_eq!(
        closed_after(
            |socket| {
                socket.op(In, "GET /a HT");
            },
            0
        ),
        []
    );
}

#[test]
fn every_pipelined_request_ends_with_the_connection() {
    let rows = closed_after(
        |socket| {
            socket
                .op(In, [get("/a"), get("/b")].concat())
                .op(Out, ok(""));
        },
        0,
    );
    assert_eq!(brief(&rows), ["GET /a 200 -", "GET /b - closed"]);
}

#[test]
fn a_half_closed_connection_is_still_answered() {
    let mut socket = Socket::server();
    socket
        .op(In, get("/a"))
        .end(In)
        .op(Out, ok("x"))
        .end(Out)
        .close(0);
    assert_eq!(brief(&socket.http()), ["GET /a 200 -"]);
    let mut socket = Socket::server();
    socket
        .op(In, "POST /a HTTP/1.1\r\nContent-Length: 9\r\n\r\nab")
        .end(In)
        .op(Out, ok("x"))
        .close(0);
    assert_eq!(
        brief(&socket.http()),
        ["POST /a 200 closed"],
        "the request was cut off"
    );
}

#[test]
fn requests_without_progress_time_out() {
    let mut socket = Socket::server();
    socket.op(In, get("/a")).wait(29_999).advance();
    assert_eq!(socket.http(), []);
    socket.wait(2).advance();
    let rows = socket.http();
    assert_eq!(brief(&rows), ["GET /a - timeout"]);
    assert_eq!(
        rows[0].some("latency_ms ttfb_ms"),
        "- -",
        "it has not ended"
    );
    socket.op(Out, ok("late")).op(In, get("/b")).op(Out, ok(""));
    assert_eq!(
        brief(&socket.http()),
        ["GET /b 200 -"],
        "the late answer finds its request"
    );
}

#[test]
fn progress_puts_the_time_out_off() {
    let mut socket = Socket::server();
    socket.op(In, "POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\n");
    for byte in ["1", "2", "3", "4", "5"] {
        socket.wait(20_000).advance().op(In, byte);
    }
    socket
        .wait(20_000)
        .advance()
        .op(Out, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    for byte in ["1", "2", "3", "4"] {
        socket.wait(20_000).advance().op(Out, byte);
    }
    assert_eq!(socket.http(), []);
    socket.wait(31_000).advance();
    let rows = socket.http();
    assert_eq!(rows[0].some("status error latency_ms"), "200 timeout -");
    assert_eq!(rows[0].number("ttfb_ms"), 120_006.0);
}

#[test]
fn the_time_out_is_the_settings() {
    let mut socket = Socket::new(DecodeSettings {
        correlation_timeout_ns: 1_000_000_000,
        ..DecodeSettings::default()
    });
    socket.open(flag::SERVER);
    socket.op(In, get("/a")).wait(1001).advance();
    assert_eq!(brief(&socket.http()), ["GET /a - timeout"]);
}

#[test]
fn a_head_that_never_ends_times_out() {
    let mut socket = Socket::server();
    socket
        .op(In, "GET /slow HTTP/1.1\r\nA: b\r\n")
        .wait(30_001)
        .advance();
    assert_eq!(brief(&socket.http()), ["GET /slow - timeout"]);
}

#[test]
fn open_requests_are_limited_and_answers_still_find_theirs() {
    let mut socket = Socket::new(DecodeSettings {
        correlation_table_size: 2,
        ..DecodeSettings::default()
    });
    socket.open(flag::SERVER);
    socket.op(In, [get("/a"), get("/b"), get("/c"), get("/d")].concat());
    socket
        .op(Out, ok("1").repeat(3))
        .op(In, get("/e"))
        .op(Out, ok("1").repeat(2));
    let taken = socket.take();
    assert_eq!(
        brief(&taken.http),
        ["GET /a 200 -", "GET /b 200 -", "GET /e 200 -"]
    );
    assert_eq!(taken.losses, [("open_requests", 2)]);
}
