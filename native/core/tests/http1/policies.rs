//! Advice to the kernel.

use universal_tracer_core::decode::{Policy, PolicyUpdate};
use universal_tracer_core::records::flag;

use crate::support::{Socket, Way::In, Way::Out, brief, get, ok};

fn skips(socket: &mut Socket) -> Vec<(bool, u32)> {
    let skip = |update: PolicyUpdate| match update.policy {
        Policy::SkipUntil { sent, sequence } => Some((sent, sequence)),
        Policy::Off | Policy::SendAll => None,
    };
    socket.policies().into_iter().filter_map(skip).collect()
}

#[test]
fn long_bodies_need_not_be_told() {
    let mut socket = Socket::server();
    socket
        .op(In, get("/a"))
        .op(Out, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
    let end = socket.next[1].wrapping_add(100_000);
    assert_eq!(skips(&mut socket), [(true, end)]);
    assert_eq!(skips(&mut socket), [], "once");
    socket.op_lost(Out, 60_000).op_unseen(Out, 40_000);
    assert_eq!(brief(&socket.http()), ["GET /a 200 -"]);

    let mut socket = Socket::server();
    socket.op(In, "PUT /a HTTP/1.1\r\nContent-Length: 9000\r\n\r\n");
    let end = socket.next[0] + 9000;
    assert_eq!(skips(&mut socket), [(false, end)]);
}

#[test]
fn short_bodies_and_those_that_are_over_are_not_worth_it() {
    let mut socket = Socket::server();
    socket
        .op(In, get("/a"))
        .op(Out, "HTTP/1.1 200 OK\r\nContent-Length: 4096\r\n\r\n")
        .op_unseen(Out, 4096);
    socket
        .op(In, get("/b"))
        .op(Out, "HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n")
        .op_unseen(Out, 9000);
    assert_eq!(skips(&mut socket), []);
}

#[test]
fn a_body_that_is_shown_is_told_until_enough_was_seen() {
    let mut socket = Socket::server();
    socket.op(In, get("/a")).op(
        Out,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100000\r\n\r\n",
    );
    assert_eq!(skips(&mut socket), []);
    socket.op(Out, "x".repeat(1000));
    assert_eq!(skips(&mut socket).len(), 1);
}

#[test]
fn long_chunks_need_not_be_told() {
    let mut socket = Socket::server();
    socket.op(In, get("/a")).op(
        Out,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000\r\n",
    );
    let end = socket.next[1].wrapping_add(0x10000);
    assert_eq!(skips(&mut socket), [(true, end)]);
    socket
        .op_lost(Out, 0xff00)
        .op(Out, format!("{}\r\n0\r\n\r\n", "x".repeat(0x100)));
    assert_eq!(brief(&socket.http()), ["GET /a 200 -"]);
}

#[test]
fn bodies_of_gigabytes_are_skipped_in_steps() {
    let mut socket = Socket::server();
    let length = 5u64 << 30;
    socket.op(In, get("/a")).op(
        Out,
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"),
    );
    let mut left = length;
    let mut steps = 0;
    while left > 0 {
        if let [(true, until)] = skips(&mut socket)[..] {
            let skipped = until.wrapping_sub(socket.next[1]);
            assert!(skipped <= 1 << 30);
            socket.op_lost(Out, skipped as usize - 1000);
            left -= u64::from(skipped) - 1000;
            steps += 1;
        }
        let next = left.min(2000);
        socket.op_unseen(Out, next as usize);
        left -= next;
    }
    let rows = socket.http();
    assert_eq!(brief(&rows), ["GET /a 200 -"]);
    assert!(steps >= 5 && rows[0].number("response_bytes") > length as f64);
}

#[test]
fn a_body_that_is_skipped_does_not_time_out() {
    let mut socket = Socket::server();
    socket
        .op(In, get("/a"))
        .op(Out, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
    assert_eq!(skips(&mut socket).len(), 1);
    socket.wait(100_000).advance();
    assert_eq!(socket.http(), []);
    socket.op_unseen(Out, 100_000);
    assert_eq!(brief(&socket.http()), ["GET /a 200 -"]);
}

#[test]
fn what_is_not_http_is_switched_off() {
    for bytes in [
        "SSH-2.0-x\r\n",
        "\u{16}\u{3}\u{1}",
        "GET /a FTP/1.1\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut socket = Socket::server();
        socket.op(In, bytes);
        assert_eq!(
            socket.policies(),
            [PolicyUpdate {
                connection: 7,
                policy: Policy::Off
            }],
            "{bytes:?}"
        );
        socket.op(In, get("/a")).op(Out, ok("x")).close(0);
        let taken = socket.take();
        assert!(taken.http.is_empty() && taken.connection.is_empty());
    }
}

#[test]
fn what_leaves_http_is_switched_off() {
    let mut socket = Socket::server();
    socket
        .op(In, "GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n")
        .op(Out, "HTTP/1.1 101 Switching\r\n\r\n");
    assert_eq!(
        socket.policies(),
        [PolicyUpdate {
            connection: 7,
            policy: Policy::Off
        }]
    );
}

#[test]
fn a_late_connection_gets_many_chances() {
    let mut socket = Socket::opened(flag::LATE);
    for _ in 0..1000 {
        socket.op(In, "binary \u{1} data");
    }
    assert_eq!(socket.policies(), []);
    for _ in 0..100 {
        socket.op(In, "binary \u{1} data");
    }
    assert_eq!(
        socket.policies(),
        [PolicyUpdate {
            connection: 7,
            policy: Policy::Off
        }]
    );
}

#[test]
fn a_pipeline_asks_for_every_byte_once() {
    let mut socket = Socket::server();
    socket.op(In, get("/a")).op(In, get("/b")).op(In, get("/c"));
    let all = |update: &PolicyUpdate| update.policy == Policy::SendAll;
    assert_eq!(
        socket
            .policies()
            .iter()
            .filter(|update| all(update))
            .count(),
        1
    );
    assert_eq!(brief(&socket.http()), [] as [&str; 0]);
}
