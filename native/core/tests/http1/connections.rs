//! `connection` events, endpoints, eviction.

use universal_tracer_core::decode::DecodeSettings;
use universal_tracer_core::records::{Endpoints, family, flag};

use crate::support::{Socket, Way::In, Way::Out, brief, get, ok, tcp_endpoints};

#[test]
fn a_connection_opens_and_closes() {
    let mut socket = Socket::server();
    assert_eq!(socket.take().connection, [], "not yet known to be HTTP");
    socket
        .wait(5)
        .op(In, get("/a"))
        .op(Out, ok("x"))
        .op(In, get("/b"))
        .op(Out, ok("yy"));
    let (received, sent) = (get("/a").len() * 2, ok("x").len() + ok("yy").len());
    let opened = socket.take().connection;
    assert_eq!(opened.len(), 1);
    let columns = "event timestamp role pid tid comm local peer connection_id duration_ms sent_bytes requests";
    assert_eq!(
        opened[0].some(columns),
        "open 2026-11-23T12:34:57.000000Z server 42 43 worker 127.0.0.1|8080|- 10.1.2.3|50000|- 0000000000000007 - - -"
    );
    socket.end(In).end(Out).close(0);
    let closed = socket.take().connection;
    assert_eq!(
        closed[0].some("event timestamp duration_ms sent_bytes received_bytes requests comm"),
        format!("close 2026-11-23T12:34:57.012000Z 12 {sent} {received} 2 worker")
    );
}

#[test]
fn a_late_connection_closes_without_having_opened() {
    let mut socket = Socket::late();
    socket.op(In, get("/a")).op(Out, ok("")).close(0);
    let rows = socket.take().connection;
    assert_eq!(rows.len(), 1, "it was open before");
    assert_eq!(rows[0].some("event duration_ms requests"), "close - 1");
}

#[test]
fn connections_that_do_not_speak_http_have_no_events() {
    let mut socket = Socket::server();
    socket
        .op(In, "SSH-2.0-OpenSSH\r\n")
        .op(Out, get("/"))
        .close(0);
    let taken = socket.take();
    assert!(taken.http.is_empty() && taken.connection.is_empty() && taken.losses.is_empty());
}

fn unix_endpoints(path: &[u8]) -> Endpoints {
    let mut endpoints = tcp_endpoints(0);
    endpoints.family = family::UNIX;
    endpoints.path = [0; 112];
    endpoints.path[..path.len()].copy_from_slice(path);
    endpoints.path_length = path.len() as u16;
    endpoints
}

#[test]
fn endpoints_are_printed() {
    let mut mapped = tcp_endpoints(0);
    mapped.family = family::INET6;
    mapped.path[..16].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1]);
    mapped.path[16..32].copy_from_slice(&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    for (endpoints, expected) in [
        (mapped, "192.0.2.1|8080|- 2001:db8::1|50000|-"),
        (
            unix_endpoints(b"/run/app.sock\0\0"),
            "-|-|/run/app.sock -|-|",
        ),
        (unix_endpoints(b"\0app"), "-|-|@app -|-|"),
        (unix_endpoints(b""), "-|-| -|-|"),
    ] {
        let mut socket = Socket::new(DecodeSettings::default());
        socket.open_with(flag::LATE, &endpoints);
        socket.op(In, get("/a")).op(Out, ok(""));
        let row = &socket.http()[0];
        assert_eq!(row.some("local peer"), expected);
        assert_eq!(row.get("tcp") == "-", endpoints.family == family::UNIX);
    }
    let mut socket = Socket::new(DecodeSettings::default());
    socket.open_with(flag::LATE, &unix_endpoints(b"/run/app.sock"));
    socket.op(Out, get("/a")).op(In, ok(""));
    assert_eq!(
        socket.http()[0].some("role local peer"),
        "client -|-| -|-|/run/app.sock"
    );
}

#[test]
fn a_connection_whose_open_was_lost_has_unknown_ends() {
    let mut socket = Socket::new(DecodeSettings::default());
    socket.op(In, get("/a")).op(Out, ok(""));
    assert_eq!(socket.http()[0].some("local peer status"), "- - 200");
}

#[test]
fn a_unix_connection_closes_with_its_peer() {
    let mut socket = Socket::new(DecodeSettings::default());
    socket.open_with(flag::LATE, &unix_endpoints(b"/run/app.sock"));
    socket.op(In, get("/a")).end(In);
    assert_eq!(
        socket.take().connection.len(),
        1,
        "an answer may still come"
    );
    socket.op(Out, ok(""));
    let taken = socket.take();
    assert_eq!(brief(&taken.http), ["GET /a 200 -"]);
    assert_eq!(taken.connection[0].get("event"), "close");

    let mut socket = Socket::new(DecodeSettings::default());
    socket.open_with(flag::LATE, &unix_endpoints(b"/run/app.sock"));
    socket.op(Out, get("/a")).end(In);
    let taken = socket.take();
    assert_eq!(brief(&taken.http), ["GET /a - closed"]);
    assert_eq!(taken.connection.len(), 2);
}

#[test]
fn the_idlest_connections_are_forgotten() {
    let mut socket = Socket::new(DecodeSettings {
        max_connections: 16,
        ..DecodeSettings::default()
    });
    for id in 1..=40 {
        socket.id = id;
        socket.next = [1000, 2000];
        socket.open(flag::SERVER);
        socket.op(In, get("/a"));
    }
    assert!(socket.decoder.open().0 <= 16);
    socket.op(Out, ok(""));
    let taken = socket.take();
    assert_eq!(
        brief(&taken.http),
        ["GET /a 200 -"],
        "the last one is still known"
    );
    let lost: u64 = taken
        .losses
        .iter()
        .filter(|(place, _)| *place == "connections")
        .map(|(_, count)| count)
        .sum();
    assert_eq!(lost as usize, 40 - socket.decoder.open().0);
}

#[test]
fn a_running_request_is_told_at_the_end_as_far_as_it_was_seen() {
    let mut socket = Socket::server();
    socket.op(In, get("/a"));
    assert_eq!(socket.decoder.finish(), 1);
    let taken = socket.take();
    assert!(taken.losses.is_empty());
    assert_eq!(brief(&taken.http), ["GET /a - truncated"]);
    assert!(socket.decoder.memory_bytes() < 100_000);
}

#[test]
fn retransmits_are_those_of_the_request() {
    let mut socket = Socket::server();
    socket.op(In, get("/a"));
    let answer = ok("");
    let mut record = socket.make_op(Out, answer.len());
    (record.retransmits, record.rtt_us) = (5, 99);
    socket.push(record, answer.as_bytes());
    assert_eq!(socket.http()[0].get("tcp"), "99|3");
}
