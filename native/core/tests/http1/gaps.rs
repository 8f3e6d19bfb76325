//! What was not seen: lost records, exchanges left out by the kernel, bytes not copied.

use universal_tracer_core::records::flag;

use crate::support::{Socket, Way::In, Way::Out, brief, get, ok};

/// Ends the drains after which nothing is waited for any more.
fn settle(socket: &mut Socket) {
    socket.advance().advance();
}

#[test]
fn a_gap_in_a_body_is_harmless() {
    let mut socket = Socket::server();
    socket.op(In, get("/a")).op(
        Out,
        "HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n0123456789",
    );
    socket
        .op_lost(Out, 10)
        .op(Out, "0123456789")
        .op(In, get("/b"))
        .op(Out, ok(""));
    let taken = socket.take();
    assert_eq!(brief(&taken.http), ["GET /a 200 -", "GET /b 200 -"]);
    assert_eq!(taken.losses, []);
}

#[test]
fn a_body_that_ends_unseen_is_whole_but_has_no_latency() {
    let mut socket = Socket::server();
    socket.op(In, get("/a")).op(
        Out,
        "HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n0123456789",
    );
    socket.op_lost(Out, 20).op(In, get("/b")).op(Out, ok("x"));
    assert_eq!(socket.http(), []);
    settle(&mut socket);
    let rows = socket.http();
    assert_eq!(brief(&rows), ["GET /a 200 -", "GET /b 200 -"]);
    assert_eq!(rows[0].get("response_bytes"), "69");
    assert_eq!(rows[0].get("latency_ms"), "-");
}

#[test]
fn a_gap_in_a_request_head_truncates_it() {
    let mut socket = Socket::server();
    let request = get("/a");
    socket
        .op(In, &request[..20])
        .op_lost(In, request.len() - 20)
        .op(Out, ok("x"));
    socket.flag(flag::START).op(In, get("/b")).op(Out, ok("y"));
    settle(&mut socket);
    let rows = socket.http();
    assert_eq!(brief(&rows), ["GET /a 200 truncated", "GET /b 200 -"]);
}

#[test]
fn a_gap_in_an_answers_head_truncates_it() {
    let answer = ok("hello");
    for (seen, status) in [(18, "200"), (5, "-")] {
        let mut socket = Socket::server();
        socket
            .op(In, get("/a"))
            .op(Out, &answer[..seen])
            .op_lost(Out, answer.len() - seen);
        socket.flag(flag::START).op(In, get("/b")).op(Out, ok("y"));
        settle(&mut socket);
        let rows = socket.http();
        assert_eq!(
            brief(&rows),
            [
                format!("GET /a {status} truncated"),
                "GET /b 200 -".to_owned()
            ],
            "{seen} bytes"
        );
        assert_eq!(rows[0].number("response_bytes") as usize, answer.len());
    }
}

#[test]
fn a_whole_answer_that_is_lost_truncates_its_request() {
    let mut socket = Socket::server();
    socket.flag(flag::START).op(In, get("/a")).op_lost(Out, 39);
    socket.flag(flag::START).op(In, get("/b")).op(Out, ok("y"));
    settle(&mut socket);
    assert_eq!(
        brief(&socket.http()),
        ["GET /a - truncated", "GET /b 200 -"]
    );
}

#[test]
fn a_whole_request_that_is_lost_leaves_no_wrong_match() {
    let mut socket = Socket::server();
    socket.flag(flag::START).op(In, get("/a")).op(Out, ok("1"));
    socket
        .op_lost(In, get("/lost").len())
        .op(Out, ok("of the lost"));
    socket.flag(flag::START).op(In, get("/b")).op(Out, ok("22"));
    settle(&mut socket);
    let taken = socket.take();
    assert_eq!(brief(&taken.http), ["GET /a 200 -", "GET /b 200 -"]);
    assert_eq!(
        taken.http[1].number("response_bytes") as usize,
        ok("22").len()
    );
    assert_eq!(taken.losses, [("gaps", 1)]);
}

#[test]
fn pipelined_requests_with_a_lost_answer_are_not_guessed() {
    let mut socket = Socket::server();
    socket.op(In, get("/")).op(Out, ok("x"));
    socket.http();
    socket
        .op(In, [get("/a"), get("/b"), get("/c")].concat())
        .op_lost(Out, 39)
        .op(Out, ok("2"));
    settle(&mut socket);
    let rows = socket.http();
    assert_eq!(
        brief(&rows),
        [
            "GET /a - truncated",
            "GET /b - truncated",
            "GET /c - truncated"
        ]
    );
    socket.flag(flag::START).op(In, get("/d")).op(Out, ok("x"));
    settle(&mut socket);
    assert_eq!(brief(&socket.http()), ["GET /d 200 -"]);
}

#[test]
fn sampled_out_exchanges_leave_no_trace() {
    for drains in [false, true] {
        let mut socket = Socket::server();
        for number in 0..10 {
            let request = get(&format!("/{number}"));
            if number % 3 == 0 {
                let skipped = if number > 0 { flag::SKIPPED } else { 0 };
                socket
                    .flag(flag::START | skipped)
                    .op(In, &request)
                    .op(Out, ok("x"));
            } else {
                socket
                    .op_lost(In, request.len())
                    .op_lost(Out, ok("yy").len());
            }
            if drains {
                settle(&mut socket);
            }
        }
        let taken = socket.take();
        assert_eq!(
            brief(&taken.http),
            [
                "GET /0 200 -",
                "GET /3 200 -",
                "GET /6 200 -",
                "GET /9 200 -"
            ]
        );
        assert!(taken.http.iter().all(|row| row.get("latency_ms") == "1"));
        assert_eq!(taken.losses, []);
    }
}

#[test]
fn sampling_works_for_clients_and_late_joins() {
    let mut socket = Socket::late();
    socket
        .flag(flag::START | flag::SKIPPED)
        .op(Out, get("/a"))
        .op(In, ok("x"));
    socket.op_lost(Out, 40).op_lost(In, 50);
    socket
        .flag(flag::START | flag::SKIPPED)
        .op(Out, get("/b"))
        .op(In, ok("x"));
    assert_eq!(brief(&socket.http()), ["GET /a 200 -", "GET /b 200 -"]);
}

#[test]
fn an_answer_of_a_sampled_exchange_may_come_before_its_request() {
    let mut socket = Socket::server();
    socket.flag(flag::START).op(In, get("/a")).op(Out, ok("x"));
    socket.op_lost(In, 40).op_lost(Out, 50);
    let (request, answer) = (get("/b"), ok("x"));
    let mut first = socket.make_op(In, request.len());
    first.flags |= flag::START | flag::SKIPPED;
    let second = socket.make_op(Out, answer.len());
    socket.push(second, answer.as_bytes());
    socket.push(first, request.as_bytes());
    assert_eq!(brief(&socket.http()), ["GET /a 200 -", "GET /b 200 -"]);
}

#[test]
fn halves_that_the_kernel_left_out_are_counted_and_no_event() {
    // the answer was lost
    let mut socket = Socket::server();
    socket.flag(flag::START).op(In, get("/a")).op_lost(Out, 39);
    socket
        .flag(flag::START | flag::LOST)
        .op(In, get("/b"))
        .op(Out, ok("y"));
    assert_eq!(brief(&socket.http()), ["GET /b 200 -"]);
    // the rest of the answer was lost
    let mut socket = Socket::server();
    socket
        .flag(flag::START)
        .op(In, get("/a"))
        .op(Out, "HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n")
        .op_lost(Out, 30);
    socket
        .flag(flag::START | flag::LOST)
        .op(In, get("/b"))
        .op(Out, ok("y"));
    assert_eq!(brief(&socket.http()), ["GET /b 200 -"]);
    // the rest of a head was lost
    let mut socket = Socket::server();
    socket
        .flag(flag::START)
        .op(In, &get("/a")[..20])
        .op_lost(In, 9)
        .op_lost(Out, 39);
    socket
        .flag(flag::START | flag::LOST)
        .op(In, get("/b"))
        .op(Out, ok("y"));
    assert_eq!(brief(&socket.http()), ["GET /b 200 -"]);
    // and of an answer's
    let mut socket = Socket::server();
    socket
        .flag(flag::START)
        .op(In, get("/a"))
        .op(Out, &ok("x")[..20])
        .op_lost(Out, 19);
    socket
        .flag(flag::START | flag::LOST)
        .op(In, get("/b"))
        .op(Out, ok("y"));
    let taken = socket.take();
    assert_eq!(brief(&taken.http), ["GET /b 200 -"]);
    assert_eq!(taken.losses, [("ring_full", 1)]);
    // nothing came any more
    let mut socket = Socket::server();
    socket
        .flag(flag::START)
        .op(In, get("/a"))
        .op_lost(Out, 39)
        .close(flag::LOST);
    settle(&mut socket);
    assert_eq!(socket.http(), []);
}

#[test]
fn a_start_that_the_stream_contradicts_is_ignored() {
    let mut socket = Socket::server();
    socket
        .flag(flag::START)
        .op(In, "POST /a HTTP/1.1\r\nContent-Length: 25\r\n\r\n");
    socket.op(Out, "HTTP/1.1 100 Continue\r\n\r\n");
    socket
        .flag(flag::START)
        .op(In, "GET /no HTTP/1.1\r\nA: b\r\n\r\n")
        .op(Out, ok("x"));
    assert_eq!(brief(&socket.http()), ["POST /a 200 -"]);
}

#[test]
fn requests_that_were_not_copied_are_counted() {
    let mut socket = Socket::server();
    // pipelined beyond what is copied of an operation
    let requests = get("/a").repeat(200);
    socket
        .op_captured(In, &requests, 4096)
        .op(Out, ok("x").repeat(150))
        .op(Out, ok("x").repeat(50));
    socket.flag(flag::START).op(In, get("/b")).op(Out, ok("y"));
    let taken = socket.take();
    let seen = 4096 / get("/a").len();
    assert_eq!(
        taken
            .http
            .iter()
            .filter(|row| row.get("error") == "-")
            .count(),
        seen + 1
    );
    assert_eq!(
        taken
            .http
            .iter()
            .filter(|row| row.get("error") == "truncated")
            .count(),
        1
    );
    assert_eq!(
        taken.http.last().map(|row| row.get("path").to_owned()),
        Some("/b".to_owned())
    );
}

#[test]
fn a_head_that_was_not_copied_to_its_end_is_truncated() {
    let mut socket = Socket::server();
    let request = format!(
        "GET /a HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n",
        "x".repeat(5000)
    );
    socket.op_captured(In, &request, 4096).op(Out, ok("x"));
    socket.flag(flag::START).op(In, get("/b")).op(Out, ok("y"));
    let rows = socket.http();
    assert_eq!(brief(&rows), ["GET /a 200 truncated", "GET /b 200 -"]);
    assert_eq!(rows[0].get("request_headers"), "Host|h");
    assert_eq!(rows[0].number("request_bytes") as usize, request.len());
}

#[test]
fn an_answer_that_was_not_copied_is_truncated() {
    let mut socket = Socket::server();
    socket.op(In, get("/a")).op_unseen(Out, 300);
    socket.flag(flag::START).op(In, get("/b")).op(Out, ok("y"));
    let rows = socket.http();
    assert_eq!(brief(&rows), ["GET /a - truncated", "GET /b 200 -"]);
    assert_eq!(rows[0].some("latency_ms response_bytes"), "1 300");
}

#[test]
fn a_start_is_that_of_the_first_request_of_an_operation() {
    let mut socket = Socket::late();
    let both = format!("{}{}", get("/a"), get("/b"));
    socket
        .flag(flag::START)
        .op(Out, both)
        .op(In, ok("x"))
        .op(In, ok("y"));
    assert_eq!(brief(&socket.http()), ["GET /a 200 -", "GET /b 200 -"]);
}

#[test]
fn an_end_says_as_well_that_the_answer_found_no_room() {
    let mut socket = Socket::server();
    socket.flag(flag::START).op(In, get("/a")).op_lost(Out, 39);
    socket.flag(flag::LOST).end(Out);
    settle(&mut socket);
    let taken = socket.take();
    assert_eq!(brief(&taken.http), [] as [&str; 0]);
    assert_eq!(taken.losses, [("ring_full", 1)]);
}
