//! Streams: pipelining, heads in pieces, order, late joins, who asks and who answers.

use universal_tracer_core::records::flag;

use crate::support::{Socket, Way::In, Way::Out, brief, get, ok};

#[test]
fn pipelined_requests_are_answered_in_order() {
    let mut socket = Socket::server();
    let requests = [get("/a"), get("/b"), get("/c")].concat();
    socket.op(In, &requests);
    socket
        .op(Out, [ok("1"), ok("22")].concat())
        .op(Out, ok("333"));
    let rows = socket.http();
    assert_eq!(
        brief(&rows),
        ["GET /a 200 -", "GET /b 200 -", "GET /c 200 -"]
    );
    let bytes: Vec<&str> = rows.iter().map(|row| row.get("response_bytes")).collect();
    assert_eq!(bytes, ["39", "40", "41"]);
    let ids: std::collections::BTreeSet<&str> =
        rows.iter().map(|row| row.get("request_id")).collect();
    assert_eq!(ids.len(), 3, "each has an id of its own");
}

#[test]
fn heads_may_be_cut_at_any_byte() {
    let conversation = [
        get("/a/b?c=d"),
        "POST /e HTTP/1.1\r\nContent-Length: 3\r\n\r\nxyz".to_owned(),
    ]
    .concat();
    let answers = [
        ok("hello"),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n".to_owned(),
    ]
    .concat();
    for cut in 1..conversation.len() {
        let mut socket = Socket::server();
        socket
            .op(In, &conversation[..cut])
            .op(In, &conversation[cut..]);
        let cut = cut.min(answers.len() - 1);
        socket.op(Out, &answers[..cut]).op(Out, &answers[cut..]);
        assert_eq!(
            brief(&socket.http()),
            ["GET /a/b 200 -", "POST /e 200 -"],
            "cut at {cut}"
        );
    }
    let mut socket = Socket::server();
    for byte in conversation.bytes() {
        socket.op(In, [byte]);
    }
    for byte in answers.bytes() {
        socket.op(Out, [byte]);
    }
    let rows = socket.http();
    assert_eq!(brief(&rows), ["GET /a/b 200 -", "POST /e 200 -"]);
    assert_eq!(
        rows[0].get("timestamp"),
        "2026-11-23T12:34:57.001000Z",
        "the first byte's time"
    );
    assert_eq!(rows[0].number("ttfb_ms") as usize, conversation.len());
}

#[test]
fn the_reader_of_the_first_byte_is_named() {
    let mut socket = Socket::server();
    socket.op(In, "G");
    socket.tid = 99;
    socket.op(In, &get("/")[1..]).op(Out, ok(""));
    assert_eq!(socket.http()[0].some("pid tid comm"), "42 43 worker");
}

#[test]
fn threads_are_named_once_and_remembered() {
    let mut socket = Socket::server();
    socket.op(In, get("/a")).op(Out, ok(""));
    let request = get("/b");
    let mut record = socket.make_op(In, request.len());
    record.comm = [0; 16];
    socket.push(record, request.as_bytes());
    socket.op(Out, ok(""));
    let request = get("/c");
    let mut record = socket.make_op(In, request.len());
    (record.comm, record.tid) = ([0; 16], 77);
    socket.push(record, request.as_bytes());
    socket.op(Out, ok(""));
    let comms: Vec<String> = socket
        .http()
        .iter()
        .map(|row| row.some("tid comm"))
        .collect();
    assert_eq!(comms, ["43 worker", "43 worker", "77 -"]);
}

#[test]
fn empty_lines_before_a_request_do_not_count() {
    let mut socket = Socket::server();
    socket
        .op(In, format!("\r\n\n\r\n{}\r\n", get("/a")))
        .op(Out, ok(""))
        .op(In, get("/b"))
        .op(Out, ok(""));
    let rows = socket.http();
    assert_eq!(brief(&rows), ["GET /a 200 -", "GET /b 200 -"]);
    assert_eq!(rows[0].number("request_bytes") as usize, get("/a").len());
}

#[test]
fn targets_come_in_four_forms() {
    for (line, expected) in [
        ("GET /a?b=c HTTP/1.1", "GET h /a b=c /a"),
        (
            "GET /a%20b/%C3%A4? HTTP/1.1",
            "GET h /a%20b/%C3%A4  /a%20b/%C3%A4",
        ),
        (
            "GET http://example.org:81/a?b HTTP/1.1",
            "GET example.org:81 /a b /a",
        ),
        ("GET http://example.org HTTP/1.1", "GET example.org / - /"),
        (
            "GET http://example.org?q=1 HTTP/1.1",
            "GET example.org / q=1 /",
        ),
        ("OPTIONS * HTTP/1.1", "OPTIONS h * - *"),
        ("get /a HTTP/1.1", "get h /a - /a"),
        ("M-SEARCH /a HTTP/1.1", "M-SEARCH h /a - /a"),
        ("GET /?a?b=/c HTTP/1.1", "GET h / a?b=/c /"),
    ] {
        let mut socket = Socket::server();
        socket
            .op(In, format!("{line}\r\nHost: h\r\n\r\n"))
            .op(Out, ok(""));
        let rows = socket.http();
        assert_eq!(rows.len(), 1, "{line}");
        assert_eq!(
            rows[0].some("method authority path query route"),
            expected,
            "{line}"
        );
    }
}

#[test]
fn bytes_beyond_utf8_are_replaced() {
    let mut socket = Socket::server();
    socket
        .op(
            In,
            b"GET /caf\xe9 HTTP/1.1\r\nHost: h\r\nX-N: \xff\xfe\r\nX-O: \xc3\xa4\r\n\r\n",
        )
        .op(Out, ok(""));
    let rows = socket.http();
    assert_eq!(rows[0].get("path"), "/caf\u{fffd}");
    assert_eq!(
        rows[0].get("request_headers"),
        "Host|h; X-N|\u{fffd}\u{fffd}; X-O|ä"
    );
}

#[test]
fn folded_and_repeated_fields_are_kept_in_order() {
    let mut socket = Socket::server();
    socket
        .op(
            In,
            "GET / HTTP/1.1\r\nA: 1\r\n  2\r\n\t3\r\nB:\r\na:  x \t\r\n\r\n",
        )
        .op(Out, ok(""));
    assert_eq!(socket.http()[0].get("request_headers"), "A|1 2 3; B|; a|x");
}

#[test]
fn an_answer_may_come_before_its_request() {
    let mut socket = Socket::server();
    let (request, answer) = (get("/a"), ok("x"));
    let first = socket.make_op(In, request.len());
    let second = socket.make_op(Out, answer.len());
    socket.push(second, answer.as_bytes());
    assert_eq!(socket.http(), []);
    socket.push(first, request.as_bytes());
    let rows = socket.http();
    assert_eq!(
        rows[0].some("path status latency_ms role"),
        "/a 200 1 server"
    );
}

#[test]
fn operations_may_come_out_of_order() {
    let mut socket = Socket::server();
    let request = get("/a");
    let pieces = [&request[..5], &request[5..10], &request[10..]];
    let records: Vec<_> = pieces
        .iter()
        .map(|piece| socket.make_op(In, piece.len()))
        .collect();
    socket.push(records[0], pieces[0].as_bytes());
    socket.push(records[2], pieces[2].as_bytes());
    socket.op(Out, ok("x")).advance();
    assert_eq!(socket.http(), []);
    socket.push(records[1], pieces[1].as_bytes());
    assert_eq!(brief(&socket.http()), ["GET /a 200 -"]);
}

#[test]
fn operations_told_twice_count_once() {
    let mut socket = Socket::server();
    let request = get("/a");
    let record = socket.make_op(In, request.len());
    socket.push(record, request.as_bytes());
    socket.push(record, request.as_bytes());
    socket.op(Out, ok("x")).op(In, get("/b")).op(Out, ok(""));
    assert_eq!(brief(&socket.http()), ["GET /a 200 -", "GET /b 200 -"]);
}

#[test]
fn the_asker_is_who_sends_a_request_line() {
    for (flags, role) in [
        (flag::CLIENT, "client"),
        (flag::SERVER, "client"),
        (flag::LATE, "client"),
    ] {
        let mut socket = Socket::opened(flags);
        socket.op(Out, get("/a")).op(In, ok("x"));
        assert_eq!(
            socket.http()[0].some("role request_bytes"),
            format!("{role} {}", get("/a").len())
        );
    }
}

#[test]
fn a_late_join_begins_with_a_message_that_begins_an_operation() {
    let mut socket = Socket::late();
    socket
        .op(Out, "rest of a body, GET / HTTP/1.1\r\n\r\n")
        .op(Out, "and more of it")
        .op(In, get("/a"))
        .op(Out, ok("x"))
        .op(In, get("/b"))
        .op(Out, ok(""));
    assert_eq!(brief(&socket.http()), ["GET /a 200 -", "GET /b 200 -"]);
}

#[test]
fn a_late_join_skips_an_answer_whose_request_was_not_seen() {
    for drains in 0..3 {
        let mut socket = Socket::late();
        socket.op(
            Out,
            "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n0123456789",
        );
        for _ in 0..drains {
            socket.advance();
        }
        socket
            .op(Out, "0123456789")
            .op(In, get("/a"))
            .op(Out, ok("x"))
            .advance()
            .advance();
        assert_eq!(brief(&socket.http()), ["GET /a 200 -"], "{drains} drains");
    }
}

#[test]
fn a_late_join_recovers_from_an_answer_to_head() {
    let mut socket = Socket::late();
    socket
        .op(Out, "HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n")
        .advance()
        .advance();
    socket
        .op(In, get("/a"))
        .op(Out, ok("x"))
        .op(In, get("/b"))
        .op(Out, ok("y"));
    assert_eq!(brief(&socket.http()), ["GET /a 200 -", "GET /b 200 -"]);
}

#[test]
fn an_unasked_answer_is_no_event() {
    let mut socket = Socket::server();
    socket.op(In, get("/a")).op(Out, ok("x"));
    socket
        .op(
            Out,
            "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n",
        )
        .advance()
        .advance()
        .close(0);
    assert_eq!(brief(&socket.http()), ["GET /a 200 -"]);
}

#[test]
fn data_behind_an_upgrade_waits_for_the_answer() {
    let request = "GET /u HTTP/1.1\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n";
    let mut socket = Socket::server();
    socket
        .op(In, request)
        .op(In, get("/b"))
        .op(Out, [ok(""), ok("")].concat());
    assert_eq!(brief(&socket.http()), ["GET /u 200 -", "GET /b 200 -"]);

    let mut socket = Socket::server();
    socket
        .op(In, request)
        .op(In, [1, 2, 3])
        .op(Out, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
        .close(0);
    let rows = socket.http();
    assert_eq!(brief(&rows), ["GET /u 101 -"]);
    assert_eq!(rows[0].number("request_bytes") as usize, request.len() + 3);
}

#[test]
fn heads_that_come_again_give_the_same_events() {
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let heads = [
        "Host: h\r\nCookie: secret\r\nX-M: jane@example.org\r\nUser-Agent: u\r\n\r\n".to_owned(),
        "Host: h\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nabc".to_owned(),
        "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n".to_owned(),
        format!("traceparent: 00-{trace}-00f067aa0ba902b7-01\r\n\r\n"),
        "A: 1\r\n 2\r\nB:\r\n\r\n".to_owned(),
        "\r\n".to_owned(),
    ];
    let answer = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nSet-Cookie: x\r\nContent-Length: 0\r\n\r\n";
    let compared = "path query status error request_bytes response_bytes request_headers response_headers authority \
                    user_agent content_type streaming request_body trace_id";
    let mut socket = Socket::server();
    let mut first = Vec::new();
    for turn in 0..5 {
        for (place, head) in heads.iter().enumerate() {
            socket
                .op(In, format!("POST /{place} HTTP/1.1\r\n{head}"))
                .op(Out, answer);
        }
        let events: Vec<String> = socket.http().iter().map(|row| row.some(compared)).collect();
        assert_eq!(events.len(), heads.len());
        if turn == 0 {
            first = events;
        } else {
            assert_eq!(events, first);
        }
    }
}

#[test]
fn a_request_body_of_a_head_that_came_again_is_bounded_as_ever() {
    let mut socket = Socket::server();
    for _ in 0..4 {
        socket
            .op(In, "POST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc")
            .op(Out, ok(""));
    }
    // the same head again, cut within and with another body
    let request = "POST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nxyz";
    socket
        .op(In, &request[..30])
        .op(In, &request[30..])
        .op(Out, ok(""));
    let rows = socket.http();
    assert_eq!(rows.len(), 5);
    assert!(
        rows.iter()
            .all(|row| row.some("path error request_bytes") == "/a - 42")
    );
}

#[test]
fn sequences_wrap() {
    let mut socket = Socket::client();
    for number in 0..50 {
        socket.op(Out, get(&format!("/{number}"))).op(In, ok("x"));
    }
    let rows = socket.http();
    assert_eq!(rows.len(), 50, "sent sequences pass 2^32");
    assert!(rows.iter().all(|row| row.get("error") == "-"));
}
