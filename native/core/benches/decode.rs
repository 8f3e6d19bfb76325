//! Requests per second from socket records to Arrow columns, on one core.
//!
//! `cargo bench -p universal_tracer_core --bench decode`: the line `elem/s` is requests a second.
//! A request is two records, as the kernel sends them: what was received, and what was sent.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use universal_tracer_core::decode::{DecodeSettings, HttpDecoder, PrivacySettings};
use universal_tracer_core::records::{Endpoints, Record, family, flag, kind};

const CONNECTIONS: u64 = 64;
const REQUESTS: u64 = 32 * 1024;
/// Events between two calls of `take`, as the session does it.
const EVENTS_AT_ONCE: usize = 8 * 1024;
/// Records between two drains.
const RECORDS_IN_DRAIN: usize = 2048;

/// What `wrk` sends to nginx' `return 200`.
const WRK_REQUEST: &str = "GET /index.html HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";
const NGINX_ANSWER: &str = "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 23 Nov 2026 12:34:56 GMT\r\n\
                            Content-Type: application/octet-stream\r\nContent-Length: 2\r\n\
                            Connection: keep-alive\r\n\r\nok";

const BROWSER_REQUEST: &str = "GET /api/v1/orders/48213/items?page=2&sort=price&filter=in%20stock HTTP/1.1\r\n\
    Host: shop.example.org\r\nConnection: keep-alive\r\nsec-ch-ua: \"Chromium\";v=\"120\", \"Not?A_Brand\";v=\"8\"\r\n\
    sec-ch-ua-mobile: ?0\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
    Chrome/120.0.0.0 Safari/537.36\r\nsec-ch-ua-platform: \"Linux\"\r\nAccept: application/json, text/plain, */*\r\n\
    Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\n\
    Referer: https://shop.example.org/orders?page=2\r\nAccept-Encoding: gzip, deflate, br\r\n\
    Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\nCookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n\r\n";
const BROWSER_ANSWER: &str = "HTTP/1.1 200 OK\r\nDate: Mon, 23 Nov 2026 12:34:56 GMT\r\n\
    Content-Type: application/json; charset=utf-8\r\nContent-Length: 98\r\nCache-Control: no-store\r\n\
    ETag: W/\"5e-1f8a\"\r\nVary: Accept-Encoding\r\nX-Request-Id: NNNNNNNN-8d0e\r\n\
    Strict-Transport-Security: max-age=31536000\r\nX-Content-Type-Options: nosniff\r\n\
    Set-Cookie: session=0123456789abcdef; HttpOnly\r\n\r\n\
    {\"items\":[{\"id\":1,\"name\":\"tea\",\"price\":3.5},{\"id\":2,\"name\":\"cup\",\"price\":7.25}],\"next\":null,\"n\":2}";

fn record(
    connection: u64,
    kind: u16,
    flags: u16,
    time_ns: u64,
    sequence: u32,
    payload: &[u8],
) -> Vec<u8> {
    let mut comm = [0; 16];
    comm[..5].copy_from_slice(b"nginx");
    let record = Record {
        time_ns,
        connection,
        pid: 4242,
        tid: 4242,
        sequence,
        length: payload.len() as u32,
        captured: payload.len() as u32,
        rtt_us: 40,
        retransmits: 0,
        kind,
        flags,
        comm,
    };
    [record.to_bytes(), payload.to_vec()].concat()
}

fn endpoints() -> Vec<u8> {
    let mut path = [0; 112];
    path[..4].copy_from_slice(&[127, 0, 0, 1]);
    path[16..20].copy_from_slice(&[127, 0, 0, 1]);
    Endpoints {
        opened_ns: 1,
        cgroup: 0,
        netns: 1,
        family: family::INET,
        local_port: 8080,
        peer_port: 50_000,
        path_length: 0,
        reserved: 0,
        path,
    }
    .to_bytes()
}

/// Keep-alive connections in turn, as a drain finds them in the ring.
fn batch(request: &str, answer: &str) -> Vec<Vec<u8>> {
    let open = |connection| record(connection, kind::OPEN, flag::SERVER, 1, 0, &endpoints());
    let mut records: Vec<Vec<u8>> = (1..=CONNECTIONS).map(open).collect();
    for number in 0..REQUESTS {
        // as real servers do it: each answer differs
        let answer = answer.replace(
            "NNNNNNNN",
            &format!("{:08x}", number * 2_654_435_761 % (1 << 32)),
        );
        let connection = number % CONNECTIONS + 1;
        let turn = (number / CONNECTIONS) as u32;
        let time_ns = 1_000_000 + number * 2_000;
        let asked = turn.wrapping_mul(request.len() as u32);
        let answered = turn.wrapping_mul(answer.len() as u32);
        records.push(record(
            connection,
            kind::DATA,
            flag::START,
            time_ns,
            asked,
            request.as_bytes(),
        ));
        records.push(record(
            connection,
            kind::DATA,
            flag::SENT,
            time_ns + 1_500,
            answered,
            answer.as_bytes(),
        ));
    }
    records
}

fn replay(decoder: &mut HttpDecoder, records: &[Vec<u8>]) -> usize {
    let mut events = 0;
    for drain in records.chunks(RECORDS_IN_DRAIN) {
        for record in drain {
            decoder.record(record);
        }
        decoder.advance(0);
        if decoder.pending_events() >= EVENTS_AT_ONCE {
            events += take(decoder);
        }
    }
    events + take(decoder)
}

fn take(decoder: &mut HttpDecoder) -> usize {
    decoder.take().http.map_or(0, |batch| batch.num_rows())
}

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(REQUESTS));
    let unmasked = PrivacySettings {
        enable_pii_filtering: false,
        mask_sensitive_headers: false,
        exclude_patterns: Vec::new(),
        max_payload_capture: 0,
    };
    for (name, request, answer, privacy) in [
        ("wrk", WRK_REQUEST, NGINX_ANSWER, PrivacySettings::default()),
        (
            "wrk, nothing masked",
            WRK_REQUEST,
            NGINX_ANSWER,
            unmasked.clone(),
        ),
        (
            "browser",
            BROWSER_REQUEST,
            BROWSER_ANSWER,
            PrivacySettings::default(),
        ),
        (
            "browser, nothing masked",
            BROWSER_REQUEST,
            BROWSER_ANSWER,
            unmasked,
        ),
    ] {
        let records = batch(request, answer);
        let settings = DecodeSettings {
            privacy,
            ..DecodeSettings::default()
        };
        group.bench_function(name, |bencher| {
            bencher.iter_batched_ref(
                || HttpDecoder::new(settings.clone()),
                |decoder| assert_eq!(replay(decoder, &records) as u64, REQUESTS),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
