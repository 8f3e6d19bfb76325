//! Where messages end: lengths, chunks, statuses and methods without a body, the stream's end.

use universal_tracer_core::records::flag;

use crate::support::{Socket, Way, Way::In, Way::Out, brief, get, ok};

/// Plays the operations, then another exchange, and tells the events in brief: the first
/// exchange's end must have been found for the second to be seen.
fn play(operations: &[(Way, &str)]) -> Vec<String> {
    let mut socket = Socket::server();
    for (way, bytes) in operations {
        socket.op(*way, bytes);
    }
    socket.op(In, get("/next")).op(Out, ok("x"));
    brief(&socket.http())
}

#[test]
fn answers_end_where_rfc_9112_says() {
    for (what, request, answer, first) in [
        (
            "length",
            "GET / HTTP/1.1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
            "GET / 200 -",
        ),
        (
            "no reason",
            "GET / HTTP/1.1\r\n\r\n",
            "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
            "GET / 200 -",
        ),
        (
            "HEAD",
            "HEAD / HTTP/1.1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n",
            "HEAD / 200 -",
        ),
        (
            "204",
            "GET / HTTP/1.1\r\n\r\n",
            "HTTP/1.1 204 No Content\r\n\r\n",
            "GET / 204 -",
        ),
        (
            "304",
            "GET / HTTP/1.1\r\n\r\n",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
            "GET / 304 -",
        ),
        (
            "chunks",
            "GET / HTTP/1.1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=\"y\"\r\nabc\r\n0\r\nT: 1\r\n\r\n",
            "GET / 200 -",
        ),
        (
            "chunks beat length",
            "GET / HTTP/1.1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 99\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n0\r\n\r\n",
            "GET / 200 -",
        ),
        (
            "equal lengths",
            "GET / HTTP/1.1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\ncontent-length: 2, 2\r\n\r\nab",
            "GET / 200 -",
        ),
        (
            "refused tunnel",
            "CONNECT h:1 HTTP/1.1\r\n\r\n",
            "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n",
            "CONNECT - 403 -",
        ),
        (
            "refused upgrade",
            "GET /u HTTP/1.1\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            "GET /u 200 -",
        ),
        (
            "bare LF",
            "GET / HTTP/1.1\nHost: x\n\n",
            "HTTP/1.1 200 OK\nContent-Length: 1\n\na",
            "GET / 200 -",
        ),
        (
            "version 1.0",
            "GET / HTTP/1.0\r\n\r\n",
            "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na",
            "GET / 200 -",
        ),
    ] {
        let events = play(&[(In, request), (Out, answer)]);
        assert_eq!(events, [first, "GET /next 200 -"], "{what}");
    }
}

#[test]
fn requests_end_where_rfc_9112_says() {
    let created = "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n";
    for (what, request) in [
        ("length", "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"),
        (
            "chunks",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        ),
        ("nothing", "POST / HTTP/1.1\r\n\r\n"),
        ("zero", "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n"),
    ] {
        assert_eq!(
            play(&[(In, request), (Out, created)]),
            ["POST / 201 -", "GET /next 200 -"],
            "{what}"
        );
    }
}

#[test]
fn contradicting_lengths_are_malformed() {
    let answer = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    for request in [
        "POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        "POST / HTTP/1.1\r\nContent-Length: 3, 4\r\n\r\nabc",
        "POST / HTTP/1.1\r\nContent-Length: -3\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\nabc",
    ] {
        let mut socket = Socket::server();
        socket
            .op(In, get("/"))
            .op(Out, ok(""))
            .op(In, request)
            .op(Out, answer)
            .op(In, get("/next"))
            .op(Out, ok("x"));
        assert_eq!(
            brief(&socket.http()),
            ["GET / 200 -", "POST / 400 malformed", "GET /next 200 -"],
            "{request}"
        );
    }
}

#[test]
fn interim_answers_belong_to_the_request() {
    let mut socket = Socket::server();
    socket
        .op(
            In,
            "POST /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
        )
        .op(Out, "HTTP/1.1 100 Continue\r\n\r\n")
        .op(In, "hi")
        .op(Out, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
        .op(Out, ok("abc"));
    let rows = socket.http();
    assert_eq!(brief(&rows), ["POST /a 200 -"]);
    assert_eq!(rows[0].some("latency_ms ttfb_ms request_bytes"), "4 4 63");
    assert_eq!(rows[0].get("response_headers"), "Content-Length|3");
    assert_eq!(
        rows[0].number("response_bytes") as usize,
        25 + 40 + ok("abc").len()
    );
}

#[test]
fn an_announced_body_may_stay_away() {
    let refused = "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n";
    let request = "POST /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2000\r\n\r\n";
    assert_eq!(
        play(&[(In, request), (Out, refused)]),
        ["POST /a 417 -", "GET /next 200 -"]
    );
}

#[test]
fn early_answers_complete_the_exchange() {
    let mut socket = Socket::server();
    socket
        .op(
            In,
            "POST /a HTTP/1.1\r\nContent-Length: 40\r\n\r\n0123456789",
        )
        .op(Out, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n");
    let rows = socket.http();
    assert_eq!(brief(&rows), ["POST /a 413 -"]);
    socket
        .op(In, "GET / HTTP/1.1\r\n0123456789\r\n\r\n")
        .op(In, get("/b"))
        .op(Out, ok(""));
    assert_eq!(
        brief(&socket.http()),
        ["GET /b 200 -"],
        "the rest of the body is no request"
    );
}

#[test]
fn a_body_may_end_with_its_stream() {
    let mut socket = Socket::server();
    socket
        .op(In, get("/"))
        .op(Out, "HTTP/1.0 200 OK\r\n\r\nabc")
        .op(Out, "defg")
        .wait(50)
        .end(Out);
    let rows = socket.http();
    assert_eq!(
        rows[0].some("status error latency_ms ttfb_ms response_bytes"),
        "200 - 2 1 26"
    );

    let mut socket = Socket::server();
    socket
        .op(In, get("/"))
        .op(Out, "HTTP/1.1 200 OK\r\n\r\nabc")
        .close(0);
    assert_eq!(brief(&socket.http()), ["GET / 200 -"]);

    let mut socket = Socket::server();
    socket
        .op(In, get("/"))
        .op(Out, "HTTP/1.1 200 OK\r\n\r\nabc")
        .close(flag::RESET);
    assert_eq!(brief(&socket.http()), ["GET / 200 reset"]);
}

#[test]
fn upgraded_connections_live_until_they_close() {
    let mut socket = Socket::server();
    let request = "GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    let answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
    socket
        .op(In, request)
        .op(Out, answer)
        .op(In, "\x01\x02GET / HTTP/1.1\r\n\r\n")
        .op(Out, [0; 100]);
    assert_eq!(socket.http(), []);
    socket
        .op_lost(In, 1000)
        .op_lost(Out, 5000)
        .wait(1000)
        .end(In)
        .close(0);
    let rows = socket.http();
    assert_eq!(
        rows[0].some("status streaming error ttfb_ms latency_ms"),
        "101 true - 1 1007"
    );
    assert_eq!(
        rows[0].number("request_bytes") as usize,
        request.len() + 20 + 1000
    );
    assert_eq!(
        rows[0].number("response_bytes") as usize,
        answer.len() + 100 + 5000
    );
}

#[test]
fn tunnels_live_until_they_close() {
    let mut socket = Socket::client();
    let request = "CONNECT db.example.org:5432 HTTP/1.1\r\nHost: db\r\n\r\n";
    socket
        .op(Out, request)
        .op(In, "HTTP/1.1 200 Connected\r\n\r\n")
        .op(Out, [7; 10])
        .op(In, [8; 20])
        .close(flag::RESET);
    let rows = socket.http();
    assert_eq!(
        rows[0].some("method authority path status streaming error"),
        "CONNECT db.example.org:5432 - 200 true reset"
    );
    assert_eq!(rows[0].number("request_bytes") as usize, request.len() + 10);
}

#[test]
fn event_streams_are_streaming() {
    let mut socket = Socket::server();
    socket
        .op(In, get("/events"))
        .op(Out, "HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream; x=y\r\nTransfer-Encoding: chunked\r\n\r\n")
        .op(Out, "7\r\ndata: 1\r\n")
        .wait(100_000);
    socket.decoder.advance(socket.now_ns);
    assert_eq!(socket.http(), [], "streams do not time out");
    socket.op(Out, "0\r\n\r\n");
    let rows = socket.http();
    assert_eq!(
        rows[0].some("streaming error ttfb_ms latency_ms"),
        "true - 1 100003"
    );
}

#[test]
fn bodies_are_passed_without_being_seen() {
    let mut socket = Socket::server();
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n";
    socket.op(In, get("/big")).op(Out, head);
    socket
        .op_unseen(Out, 60_000)
        .op_unseen(Out, 40_000)
        .op(In, get("/b"))
        .op(Out, ok(""));
    let rows = socket.http();
    assert_eq!(brief(&rows), ["GET /big 200 -", "GET /b 200 -"]);
    assert_eq!(rows[0].some("latency_ms ttfb_ms"), "3 1");
    assert_eq!(
        rows[0].number("response_bytes") as usize,
        head.len() + 100_000
    );
}

#[test]
fn chunks_that_were_not_copied_are_passed_by_arithmetic() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    // one operation: head, one chunk, last chunk; the copy ends within the data
    let whole = format!("{head}2000\r\n{}\r\n0\r\n\r\n", "x".repeat(0x2000));
    let mut socket = Socket::server();
    socket
        .op(In, get("/a"))
        .op_captured(Out, &whole, 4096)
        .op(In, get("/b"))
        .op(Out, ok(""));
    let rows = socket.http();
    assert_eq!(brief(&rows), ["GET /a 200 -", "GET /b 200 -"]);
    assert_eq!(
        rows[0].some("latency_ms response_bytes"),
        format!("1 {}", whole.len())
    );

    // an operation a chunk, and the last chunk unseen as well
    let mut socket = Socket::server();
    socket.op(In, get("/a")).op(Out, head);
    for _ in 0..3 {
        socket.op_captured(Out, format!("2000\r\n{}\r\n", "x".repeat(0x2000)), 4096);
    }
    socket.op_unseen(Out, 5).op(In, get("/b")).op(Out, ok(""));
    let rows = socket.http();
    assert_eq!(brief(&rows), ["GET /a 200 -", "GET /b 200 -"]);
    assert_eq!(rows[0].get("latency_ms"), "5");
}

#[test]
fn chunks_whose_sizes_were_not_copied_end_with_the_exchange() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunks = "400\r\n".to_owned() + &"x".repeat(0x400) + "\r\n";
    let body = chunks.repeat(20);
    // the next exchange tells that this one is over; every operation was seen, so it is no error
    let mut socket = Socket::server();
    socket
        .op(In, get("/a"))
        .op_captured(Out, format!("{head}{body}"), 4096)
        .op_unseen(Out, 3000);
    assert_eq!(socket.http(), []);
    socket
        .wait(50)
        .flag(flag::START)
        .op(In, get("/b"))
        .op(Out, ok(""));
    let rows = socket.http();
    assert_eq!(brief(&rows), ["GET /a 200 -", "GET /b 200 -"]);
    assert_eq!(rows[0].get("latency_ms"), "2");
    assert_eq!(
        rows[0].number("response_bytes") as usize,
        head.len() + body.len() + 3000
    );

    // an answer that begins tells it as well
    let mut socket = Socket::server();
    socket
        .op(In, get("/a"))
        .op(In, get("/b"))
        .op_captured(Out, format!("{head}{body}"), 4096)
        .op(Out, ok(""));
    assert_eq!(brief(&socket.http()), ["GET /a 200 -", "GET /b 200 -"]);

    // so does an operation that is, or ends with, the last chunk
    for last in ["0\r\n\r\n", "3\r\nabc\r\n0\r\n\r\n"] {
        let mut socket = Socket::server();
        socket
            .op(In, get("/a"))
            .op_captured(Out, format!("{head}{body}"), 4096)
            .op(Out, last);
        assert_eq!(brief(&socket.http()), ["GET /a 200 -"], "{last:?}");
    }

    // and the end of the connection, or long silence
    let mut socket = Socket::server();
    socket
        .op(In, get("/a"))
        .op_captured(Out, format!("{head}{body}"), 4096)
        .end(Out);
    assert_eq!(brief(&socket.http()), ["GET /a 200 -"]);
    let mut socket = Socket::server();
    socket
        .op(In, get("/a"))
        .op_captured(Out, format!("{head}{body}"), 4096)
        .wait(30_001)
        .advance();
    assert_eq!(brief(&socket.http()), ["GET /a 200 -"]);
}

#[test]
fn chunks_of_a_request_may_go_unseen_too() {
    let chunks = "400\r\n".to_owned() + &"x".repeat(0x400) + "\r\n";
    let request = format!(
        "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n",
        chunks.repeat(20)
    );
    let mut socket = Socket::server();
    socket
        .op_captured(In, &request, 4096)
        .op(Out, ok("x"))
        .flag(flag::START)
        .op(In, get("/b"))
        .op(Out, ok(""));
    let rows = socket.http();
    assert_eq!(brief(&rows), ["POST /a 200 -", "GET /b 200 -"]);
    assert_eq!(rows[0].number("request_bytes") as usize, request.len());
}

#[test]
fn malformed_chunks_are_told() {
    let mut socket = Socket::server();
    socket
        .op(In, get("/a"))
        .op(
            Out,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        )
        .flag(flag::START)
        .op(In, get("/b"))
        .op(Out, ok(""));
    assert_eq!(
        brief(&socket.http()),
        ["GET /a 200 malformed", "GET /b 200 -"]
    );
}

#[test]
fn bodies_beyond_4_gib_are_followed() {
    let mut socket = Socket::server();
    let length = 5u64 << 30;
    socket.op(In, get("/a")).op(
        Out,
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"),
    );
    for _ in 0..5 {
        socket.op_unseen(Out, 1 << 30);
    }
    let rows = socket.http();
    assert_eq!(brief(&rows), ["GET /a 200 -"]);
    assert!(rows[0].number("response_bytes") > length as f64);
    assert_eq!(rows[0].number("latency_ms"), 6.0);
}
