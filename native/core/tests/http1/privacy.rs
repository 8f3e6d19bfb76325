//! No secret gets into a column.

use universal_tracer_core::decode::{DecodeSettings, PrivacySettings};
use universal_tracer_core::records::flag;

use crate::support::{Row, Socket, Way::In, Way::Out, ok};

fn trace_with(privacy: PrivacySettings, request: &str, answer: &str) -> Row {
    let mut socket = Socket::new(DecodeSettings {
        privacy,
        ..DecodeSettings::default()
    });
    socket.open(flag::SERVER);
    socket.op(In, request).op(Out, answer);
    socket.http().remove(0)
}

fn trace(request: &str, answer: &str) -> Row {
    trace_with(PrivacySettings::default(), request, answer)
}

#[test]
fn credentials_in_fields_are_masked() {
    let row = trace(
        "GET / HTTP/1.1\r\nAuthorization: Basic eA==\r\ncookie: a=b\r\nX-Api-Key: k\r\nX-My-Secret-Thing: s\r\nAccept: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n",
    );
    assert_eq!(
        row.get("request_headers"),
        "Authorization|***; cookie|***; X-Api-Key|***; X-My-Secret-Thing|***; Accept|x"
    );
    assert_eq!(
        row.get("response_headers"),
        "Set-Cookie|***; Set-Cookie|***; Content-Length|0"
    );
}

#[test]
fn queries_are_masked_by_name_and_by_shape() {
    for (query, masked) in [
        ("a=1&password=x&b=2", "a=1&password=***&b=2"),
        ("access_TOKEN=x", "access_TOKEN=***"),
        ("pass%77ord=x", "pass%77ord=***"),
        ("m=jane@example.org", "m=***"),
        ("m=jane%40example.org&x", "m=***&x"),
        ("m=jane%2540example.org", "m=***"),
        ("c=4111111111111111", "c=***"),
        ("c=4111+1111%201111+1111", "c=***"),
        (
            "next=https%3A%2F%2Fh%2F%3Ftoken%3Dabc",
            "next=https%3A%2F%2Fh%2F%3Ftoken%3D***",
        ),
        ("sig=abc&Signature=d", "sig=***&Signature=***"),
        ("jane@example.org", "***"),
        ("a=b=c&&=&", "a=b=c&&=&"),
        ("secret", "secret"),
    ] {
        let row = trace(&format!("GET /?{query} HTTP/1.1\r\n\r\n"), &ok(""));
        assert_eq!(row.get("query"), masked, "{query}");
    }
}

#[test]
fn paths_are_masked_by_shape() {
    for (path, masked, route) in [
        ("/u/jane@example.org/x", "/u/***/x", "/u/{email}/x"),
        ("/u/jane%40example.org", "/u/***", "/u/{email}"),
        ("/c/4111111111111111", "/c/***", "/c/{id}"),
        ("/i/DE89370400440532013000", "/i/***", "/i/{token}"),
        ("/k/AKIAIOSFODNN7EXAMPLE/y", "/k/***/y", "/k/{token}/y"),
        ("/a;token=x/b", "/a;token=***/b", "/{token}/b"),
        ("/plain", "/plain", "/plain"),
    ] {
        let row = trace(&format!("GET {path} HTTP/1.1\r\n\r\n"), &ok(""));
        assert_eq!(row.some("path route"), format!("{masked} {route}"));
    }
}

#[test]
fn user_information_is_masked() {
    let row = trace(
        "GET http://jane:pw@example.org/a HTTP/1.1\r\nHost: jane:pw@example.org\r\n\r\n",
        &ok(""),
    );
    assert_eq!(row.get("authority"), "***@example.org");
    assert_eq!(row.get("request_headers"), "Host|***@example.org");
    let row = trace(
        "GET /a HTTP/1.1\r\nHost: h\r\nReferer: http://jane:pw@h/?api_key=1&x=2#token=3\r\n\r\n",
        &ok(""),
    );
    assert_eq!(
        row.get("request_headers"),
        "Host|h; Referer|http://***@h/?api_key=***&x=2#token=***"
    );
}

#[test]
fn bodies_are_shown_masked_and_cut() {
    let body = r#"{"user":"x","password":"hunter2","mail":"jane@example.org"}"#;
    let request = format!(
        "POST / HTTP/1.1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{}\r\n{:x}\r\n{}\r\n0\r\n\r\n",
        &body[..5],
        body.len() - 5,
        &body[5..]
    );
    let form = "a=1&secret=x&c=2";
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    );
    let row = trace(&request, &answer);
    assert_eq!(
        row.get("request_body"),
        r#"{"user":"x","password":"***","mail":"***"}"#
    );
    assert_eq!(row.get("response_body"), "a=1&secret=***&c=2");
}

#[test]
fn bodies_are_limited() {
    let body = "lorem ipsum ".repeat(100);
    let answer = |fields: &str| {
        format!(
            "HTTP/1.1 200 OK\r\n{fields}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let request = "GET / HTTP/1.1\r\n\r\n";
    let text = answer("Content-Type: text/plain\r\n");
    assert_eq!(trace(request, &text).get("response_body"), &body[..256]);
    let limit = |max_payload_capture| PrivacySettings {
        max_payload_capture,
        ..PrivacySettings::default()
    };
    assert_eq!(
        trace_with(limit(10), request, &text).get("response_body"),
        &body[..10]
    );
    assert_eq!(
        trace_with(limit(0), request, &text).get("response_body"),
        "-"
    );
    for fields in [
        "",
        "Content-Type: image/png\r\n",
        "Content-Type: text/plain\r\nContent-Encoding: gzip\r\n",
    ] {
        assert_eq!(trace(request, &answer(fields)).get("response_body"), "-");
    }
}

#[test]
fn a_secret_at_the_cut_does_not_show() {
    let answer = |body: &str, length: usize| {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    };
    for secret in [
        "4111 1111 1111 1111",
        "jane.doe@example.org",
        "AKIAIOSFODNN7EXAMPLE",
    ] {
        for before in 230..260 {
            let body = format!("{} {secret} and more", "x".repeat(before));
            let row = trace("GET / HTTP/1.1\r\n\r\n", &answer(&body, body.len()));
            let shown = row.get("response_body");
            assert!(!shown.contains(&secret[..6]), "{shown}");
        }
    }
    let mut socket = Socket::server();
    socket
        .op(In, "GET / HTTP/1.1\r\n\r\n")
        .op(Out, answer("pay with 4111 1111 1111", 1000))
        .op_unseen(Out, 977);
    assert_eq!(socket.http()[0].get("response_body"), "pay with***");
}

#[test]
fn values_that_were_clean_once_are_not_taken_for_clean() {
    let mut socket = Socket::server();
    let play = |socket: &mut Socket, value: &str| {
        socket
            .op(In, format!("GET / HTTP/1.1\r\nX-Note: {value}\r\n\r\n"))
            .op(Out, ok(""));
        socket.http().remove(0).get("request_headers").to_owned()
    };
    for value in [
        "plain",
        "jane@example.org",
        "plain",
        "plain",
        "plain ",
        "4111111111111111",
        "plain",
    ] {
        let shown = if value.starts_with("plain") {
            "plain"
        } else {
            "***"
        };
        assert_eq!(play(&mut socket, value), format!("X-Note|{shown}"));
    }
}

#[test]
fn masking_follows_the_settings() {
    let request = "GET /jane@example.org?token=x&m=jane@example.org&q=1 HTTP/1.1\r\nAuthorization: x\r\nX-Pin: 1\r\n\r\n";
    let off = PrivacySettings {
        enable_pii_filtering: false,
        mask_sensitive_headers: false,
        exclude_patterns: vec![],
        max_payload_capture: 0,
    };
    let row = trace_with(off.clone(), request, &ok(""));
    assert_eq!(
        row.some("path query"),
        "/jane@example.org token=x&m=jane@example.org&q=1"
    );
    assert_eq!(row.get("request_headers"), "Authorization|x; X-Pin|1");
    let own = PrivacySettings {
        exclude_patterns: vec!["PIN".into(), "/^q$/".into()],
        ..off
    };
    let row = trace_with(own, request, &ok(""));
    assert_eq!(row.get("query"), "token=x&m=jane@example.org&q=***");
    assert_eq!(row.get("request_headers"), "Authorization|x; X-Pin|***");
}
