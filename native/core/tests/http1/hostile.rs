//! Malformed, endless and binary input: no wrong events, no growth.

use universal_tracer_core::decode::limits;
use universal_tracer_core::records::flag;

use crate::support::{Socket, Way::In, Way::Out, brief, get, ok};

#[test]
fn what_merely_resembles_http_is_no_event() {
    for bytes in [
        "GET \u{0}\u{1}\u{2}\r\n\r\n",
        "GET /a HTTP/1.1 \r\n\r\n",
        "GET /a  HTTP/1.1\r\n\r\n",
        "GET  /a HTTP/1.1\r\n\r\n",
        "GET /a b HTTP/1.1\r\n\r\n",
        "GET /a HTTP/1.1x\r\n\r\n",
        "GET /a HTTP/11\r\n\r\n",
        "GET /a HTTP/2.0\r\n\r\n",
        "GET /a http/1.1\r\n\r\n",
        "GET a HTTP/1.1\r\n\r\n",
        "GET * HTTP/1.1\r\n\r\n",
        "GET /a\r\n\r\n",
        "OPTIONS rtsp://h/a RTSP/1.0\r\n\r\n",
        "INVITE sip:a@b SIP/2.0\r\n\r\n",
        "MULTIPLEXING-IS-NOT-A-METHOD-THIS-LONG /a HTTP/1.1\r\n\r\n",
        "G\u{e9}T /a HTTP/1.1\r\n\r\n",
        "GET /a HTTP/1.1\r\nA: \u{0}\r\n\r\n",
        "GET /a HTTP/1.1\r\nno field\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost : x\r\n\r\n",
        "GET /a HTTP/1.1\r\n: x\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/3.1 200 OK\r\n\r\n",
    ] {
        let mut socket = Socket::server();
        socket
            .op(In, bytes)
            .op(Out, ok("x"))
            .advance()
            .advance()
            .close(0);
        let taken = socket.take();
        assert!(
            taken.http.is_empty() && taken.connection.is_empty(),
            "{bytes:?}"
        );
    }
}

#[test]
fn malformed_requests_are_told_where_http_was_spoken() {
    for (bytes, method) in [
        ("GET /a HTTP/1.1\r\nA: \u{0}\r\n\r\n", "GET"),
        ("GET /a HTTP/1.1\r\nno field\r\n\r\n", "GET"),
        ("GET /a HTTP/1.1\r\nHost : x\r\n\r\n", "GET"),
        ("\u{1}\u{2}\u{3}", "-"),
        ("GET /a b HTTP/1.1\r\n\r\n", "-"),
    ] {
        let mut socket = Socket::server();
        socket.op(In, get("/")).op(Out, ok(""));
        socket
            .op(In, bytes)
            .op(Out, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        socket.op(In, get("/b")).op(Out, ok(""));
        let rows = socket.http();
        let errors: Vec<String> = rows
            .iter()
            .map(|row| row.some("method status error"))
            .collect();
        assert_eq!(
            errors,
            ["GET 200 -", &format!("{method} 400 malformed"), "GET 200 -"],
            "{bytes:?}"
        );
    }
}

#[test]
fn malformed_answers_are_told() {
    for bytes in [
        "ICY 200 OK\r\n\r\n",
        "HTTP/1.1 xyz\r\n\r\n",
        "<html>\r\n",
        "HTTP/1.1 200 OK\r\nA\u{0}: b\r\n\r\n",
    ] {
        let mut socket = Socket::server();
        socket
            .op(In, get("/a"))
            .op(Out, bytes)
            .op(In, get("/b"))
            .op(Out, ok(""));
        let rows = socket.http();
        assert_eq!(rows[0].some("path error"), "/a malformed", "{bytes:?}");
        assert_eq!(rows[1].some("path error"), "/b -", "{bytes:?}");
    }
}

#[test]
fn a_space_before_a_colon_is_tolerated_in_answers() {
    let mut socket = Socket::server();
    socket
        .op(In, get("/a"))
        .op(Out, "HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n");
    assert_eq!(
        socket.http()[0].some("status response_headers"),
        "200 Content-Length|0"
    );
}

#[test]
fn heads_of_64_kib_are_whole_and_longer_ones_cut() {
    let head = |fill: usize| {
        format!(
            "GET /a HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n",
            "x".repeat(fill)
        )
    };
    let frame = head(0).len();
    for (length, error) in [
        (limits::HEAD_BYTES, "-"),
        (limits::HEAD_BYTES + 1, "truncated"),
        (200_000, "truncated"),
    ] {
        let mut socket = Socket::server();
        let request = head(length - frame);
        for piece in request.as_bytes().chunks(4096) {
            socket.op(In, piece);
        }
        socket.op(Out, ok("x")).op(In, get("/b")).op(Out, ok("y"));
        let rows = socket.http();
        assert_eq!(
            brief(&rows),
            [format!("GET /a 200 {error}"), "GET /b 200 -".to_owned()],
            "{length}"
        );
        assert_eq!(rows[0].number("request_bytes") as usize, length);
        assert!(rows[0].get("request_headers").starts_with("Host|h"));
    }
}

#[test]
fn an_answers_head_may_be_too_long_as_well() {
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX: {}\r\n\r\nabc",
        "x".repeat(100_000)
    );
    let mut socket = Socket::server();
    socket.op(In, get("/a"));
    for piece in answer.as_bytes().chunks(4096) {
        socket.op(Out, piece);
    }
    socket.op(In, get("/b")).op(Out, ok("y"));
    let rows = socket.http();
    assert_eq!(brief(&rows), ["GET /a 200 truncated", "GET /b 200 -"]);
    assert_eq!(rows[0].number("response_bytes") as usize, answer.len());
}

#[test]
fn a_target_without_end_is_told_where_http_was_spoken() {
    let endless = format!("GET /{}", "a".repeat(70_000));
    let mut socket = Socket::server();
    socket.op(In, &endless);
    assert!(socket.take().connection.is_empty());
    let mut socket = Socket::server();
    socket
        .op(In, get("/"))
        .op(Out, ok(""))
        .op(In, &endless)
        .close(0);
    let rows = socket.http();
    assert_eq!(rows[1].some("method error"), "GET truncated");
}

#[test]
fn endless_heads_and_tiny_writes_do_not_grow_memory() {
    let mut socket = Socket::server();
    socket.op(In, "GET /a HTTP/1.1\r\n");
    for number in 0..300_000u32 {
        socket.op(In, if number % 7 == 6 { "\n" } else { "x" });
        assert!(socket.decoder.memory_bytes() < 300_000);
    }
    let mut socket = Socket::server();
    for _ in 0..300_000 {
        socket.op(In, "\r\n");
    }
    assert!(socket.decoder.memory_bytes() < 100_000);
}

#[test]
fn requests_that_are_never_answered_do_not_grow_memory() {
    let mut socket = Socket::server();
    for _ in 0..50_000 {
        socket.op(In, get("/a"));
        assert!(socket.decoder.memory_bytes() < 2_000_000);
    }
    let taken = socket.take();
    assert!(
        taken
            .losses
            .iter()
            .any(|(place, count)| *place == "open_requests" && *count > 1000)
    );
}

#[test]
fn operations_that_never_fit_do_not_grow_memory() {
    let mut socket = Socket::server();
    socket.op(In, "GET /a HTTP/1.1\r\n");
    for _ in 0..10_000 {
        socket.op_lost(In, 1000).op(In, "y".repeat(4096));
        assert!(socket.decoder.memory_bytes() < 300_000);
    }
}

#[test]
fn many_partial_heads_stay_within_the_common_limit() {
    let mut socket = Socket::new(universal_tracer_core::decode::DecodeSettings::default());
    let mut lost = 0;
    for id in 1..=1000 {
        socket.id = id;
        socket.open(flag::SERVER);
        socket.op(In, format!("GET /a HTTP/1.1\r\nX: {}", "x".repeat(60_000)));
        lost += socket
            .take()
            .losses
            .iter()
            .map(|(_, count)| count)
            .sum::<u64>();
    }
    assert!(socket.decoder.memory_bytes() < 80 * 1024 * 1024);
    assert!(lost > 0, "what found no room is counted");
    socket.id = 2000;
    socket.open(flag::SERVER);
    socket.op(In, get("/b")).op(Out, ok(""));
    assert_eq!(
        brief(&socket.http()).last().map(String::as_str),
        Some("GET /b 200 -"),
        "others are not affected"
    );
}

#[test]
fn open_requests_with_much_text_are_cut_and_others_are_not_affected() {
    let mut socket = Socket::new(universal_tracer_core::decode::DecodeSettings::default());
    let budget = limits::Budgets::default().open_requests;
    for id in 1..=1000 {
        socket.id = id;
        socket.open(flag::SERVER);
        let head = format!(
            "GET /{}é?{} HTTP/1.1\r\nHost: h{id}\r\nX: {}\r\n\r\n",
            "p".repeat(id as usize % 400),
            "q".repeat(20_000),
            "x".repeat(20_000)
        );
        socket.op(In, head);
        assert!(socket.decoder.memory_bytes() < 2 * budget);
    }
    socket.id = 2000;
    socket.open(flag::SERVER);
    socket.op(In, get("/b")).op(Out, ok(""));
    let taken = socket.take();
    assert_eq!(brief(&taken.http), ["GET /b 200 -"]);
    assert_eq!(taken.losses, []);
    socket.id = 399;
    socket.op(Out, ok("x"));
    let rows = socket.http();
    assert_eq!(
        rows[0].some("method status error authority"),
        "GET 200 truncated h399"
    );
    assert_eq!(rows[0].get("path"), format!("/{}", "p".repeat(255)));
    assert_eq!(rows[0].get("query"), "q".repeat(256));
    socket.id = 1000;
    socket.op(Out, ok("x"));
    assert_eq!(
        socket.http()[0].get("query").len(),
        20_000,
        "the last one is whole"
    );
}

#[test]
fn a_tick_of_too_many_bytes_does_not_cost_the_next_ones() {
    let mut socket = Socket::server();
    let long = format!("X: {}\r\n", "x".repeat(50_000));
    for _ in 0..600 {
        socket
            .op(
                In,
                get("/a").replace("\r\n\r\n", &format!("\r\n{long}\r\n")),
            )
            .op(Out, ok(""));
    }
    let taken = socket.take();
    assert!(taken.http.len() < 600);
    assert_eq!(
        taken.losses,
        [("batch", 600 - taken.http.len() as u64)],
        "what found no room is counted"
    );
    socket.op(In, get("/b")).op(Out, ok(""));
    assert_eq!(brief(&socket.http()), ["GET /b 200 -"]);
}

#[test]
fn long_answers_without_end_are_cut_as_well() {
    let mut socket = Socket::new(universal_tracer_core::decode::DecodeSettings::default());
    let budget = limits::Budgets::default().open_requests;
    for id in 1..=1000 {
        socket.id = id;
        socket.open(flag::SERVER);
        socket.op(In, get("/a"));
    }
    for id in 1..=1000 {
        socket.id = id;
        let fields = format!("Content-Length: 9\r\nX: {}", "x".repeat(40_000));
        socket.op(Out, format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n"));
        assert!(socket.decoder.memory_bytes() < 2 * budget);
    }
}

#[test]
fn heads_in_pieces_find_room_beside_long_ones() {
    let mut socket = Socket::new(universal_tracer_core::decode::DecodeSettings::default());
    for id in 1..=1000 {
        socket.id = id;
        socket.open(flag::SERVER);
        socket.op(In, format!("GET /a HTTP/1.1\r\nX: {}", "x".repeat(60_000)));
        socket.take();
    }
    socket.id = 2000;
    socket.open(flag::SERVER);
    socket
        .op(In, "GET /b HTTP/1.1\r\nHost")
        .op(In, ": x\r\n\r\n");
    socket.op(Out, ok(""));
    assert_eq!(brief(&socket.http()), ["GET /b 200 -"]);
}

#[test]
fn records_that_are_too_short_are_ignored() {
    let mut socket = Socket::server();
    for length in 0..64 {
        socket.decoder.record(&vec![1; length]);
    }
    socket.op(In, get("/a")).op(Out, ok(""));
    assert_eq!(brief(&socket.http()), ["GET /a 200 -"]);
}
