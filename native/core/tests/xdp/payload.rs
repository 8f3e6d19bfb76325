//! What payloads show: bytes as real clients send them, cut and damaged ones.

use proptest::prelude::*;
use universal_tracer_core::decode::PrivacySettings;
use universal_tracer_core::xdp::payload::{
    DnsSeen, HttpKind, HttpSeen, Payload, PayloadReader, Segment, TlsSeen,
};

/// Preface, SETTINGS, WINDOW_UPDATE and the HEADERS of `POST /helloworld.Greeter/SayHello`, as grpc-python begins.
pub(crate) const GRPC_FLIGHT: &str = "505249202a20485454502f322e300d0a0d0a534d0d0a0d0a00002a0400000000000001000010000002000000010004\
    0000ffff00050000400000080000000000030000006400060001000000006f010400000001838644956272d141fc1eca245f15852a4b631b87eb\
    1968a0ff418ba0e41d139d09b8d800d87f5f8b1d75d0620d263d4c4d65647a8d9acac8b57e9339ea602bb805c14082497f864d833505b11f408e\
    9acac8b0c842d6958b510f21aa9b913485a9264fafa5242cb40d25fa526f66af";
/// The same call once more: everything but the method and the scheme comes from the dynamic table.
const GRPC_AGAIN: &str = "0000070104000000038386c3c2c1c0bf";
/// `GET /a/b?x=1` on the same connection.
pub(crate) const GET: &str = "00000c01050000000582874487606c47fe79803fc3";
pub(crate) const GRPC_RESPONSE: &str =
    "000022010400000001885f8b1d75d0620d263d4c4d6564408e9acac8b0c842d6958b510f21aa9b839bd9ab";
const GRPC_TRAILERS: &str = "00001801050000000140889acac8b21234da8f810740899acac8b5254207317f80";
/// OpenSSL 3, for `api.example.com`, offering h2 and http/1.1.
pub(crate) const HELLO: &str = "1603010200010001fc030305d015dc8c90f122af8c6d462fac570042ea5fe0f3056fcdc57bd45536210dd620a736cda8\
    c6c0b8a0819c7cde7af75546cdb4db8db681a34711760e51282b8f3b0024130213031301c02cc030c02bc02fcca9cca8c024c028c023c02700\
    9f009e006b006700ff0100018f00000014001200000f6170692e6578616d706c652e636f6d000b000403000102000a00160014001d0017001e\
    0019001801000101010201030104002300000010000e000c02683208687474702f312e31001600000017000000";
/// Query 0x1234 for `www.example.com`, type AAAA.
const QUESTION: &str = "12340100000100000000000003777777076578616d706c6503636f6d00001c0001";

pub(crate) fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<_> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn segment(protocol: u8, source_port: u16, destination_port: u16, time_ns: u64) -> Segment {
    let (client, server) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
    let asks = destination_port < source_port;
    Segment {
        time_ns,
        protocol,
        source: if asks { client } else { server },
        destination: if asks { server } else { client },
        source_port,
        destination_port,
    }
}

fn reader() -> PayloadReader {
    PayloadReader::new(&PrivacySettings::default())
}

fn stream(bytes: &[u8]) -> Option<Payload> {
    reader().read(&segment(6, 40_000, 8080, 0), bytes)
}

fn http(
    kind: HttpKind,
    method: Option<&str>,
    path: Option<&str>,
    status: Option<u16>,
) -> Option<Payload> {
    Some(Payload::Http(HttpSeen {
        kind,
        method: method.map(str::to_owned),
        path: path.map(str::to_owned),
        status,
    }))
}

#[test]
fn http1_heads_are_read_on_any_port() {
    assert_eq!(
        stream(b"GET /a?token=x HTTP/1.1\r\n"),
        http(HttpKind::Request, Some("GET"), Some("/a"), None)
    );
    assert_eq!(
        stream(b"HTTP/1.1 503 Busy\r\n"),
        http(HttpKind::Response, None, None, Some(503))
    );
}

#[test]
fn grpc_is_told_by_its_content_type() {
    let path = Some("/helloworld.Greeter/SayHello");
    assert_eq!(
        stream(&bytes(GRPC_FLIGHT)),
        http(HttpKind::Grpc, Some("POST"), path, None)
    );
    assert_eq!(
        stream(&bytes(GRPC_RESPONSE)),
        http(HttpKind::Grpc, None, None, Some(200))
    );
}

#[test]
fn what_only_earlier_packets_know_is_not_guessed() {
    assert_eq!(
        stream(&bytes(GRPC_AGAIN)),
        http(HttpKind::Request, Some("POST"), None, None)
    );
    assert_eq!(stream(&bytes(GRPC_TRAILERS)), None);
}

#[test]
fn http2_paths_have_no_query() {
    assert_eq!(
        stream(&bytes(GET)),
        http(HttpKind::Request, Some("GET"), Some("/a/b"), None)
    );
}

#[test]
fn a_request_behind_other_frames_is_found() {
    let ping = "000008060000000000 0000000000000001";
    let both = [bytes(ping), bytes(GET)].concat();
    assert_eq!(stream(&both), stream(&bytes(GET)));
}

#[test]
fn a_cut_header_block_tells_what_it_holds() {
    let whole = bytes(GRPC_FLIGHT);
    let cut = stream(&whole[..whole.len() - 60]);
    assert_eq!(
        cut,
        http(
            HttpKind::Grpc,
            Some("POST"),
            Some("/helloworld.Greeter/SayHello"),
            None
        )
    );
}

#[test]
fn a_client_hello_tells_name_and_protocols() {
    let expected = TlsSeen {
        sni: Some("api.example.com".to_owned()),
        alpn: vec!["h2".to_owned(), "http/1.1".to_owned()],
    };
    assert_eq!(stream(&bytes(HELLO)), Some(Payload::Tls(expected)));
}

#[test]
fn a_hello_that_goes_on_in_the_next_packet_tells_what_came() {
    let whole = bytes(HELLO);
    let Some(Payload::Tls(seen)) = stream(&whole[..160]) else {
        panic!("no hello");
    };
    assert_eq!(seen.sni.as_deref(), Some("api.example.com"));
    assert_eq!(seen.alpn, Vec::<String>::new());
    assert_eq!(stream(&whole[..60]), None);
}

fn answer() -> Vec<u8> {
    let mut answer = bytes(QUESTION);
    answer[2] |= 0x80;
    answer
}

fn dns(latency_ms: Option<f64>) -> Option<Payload> {
    Some(Payload::Dns(DnsSeen {
        name: "www.example.com".to_owned(),
        record_type: "AAAA".to_owned(),
        latency_ms,
    }))
}

#[test]
fn an_answer_is_timed_from_the_first_time_it_was_asked_for() {
    let mut reader = reader();
    let asked = |time_ns| segment(17, 40_000, 53, time_ns);
    let answered = |time_ns| segment(17, 53, 40_000, time_ns);
    assert_eq!(reader.read(&asked(1_000_000), &bytes(QUESTION)), dns(None));
    assert_eq!(reader.read(&asked(3_000_000), &bytes(QUESTION)), dns(None));
    assert_eq!(reader.read(&answered(6_500_000), &answer()), dns(Some(5.5)));
    // a second answer has no question any more
    assert_eq!(reader.read(&answered(7_000_000), &answer()), dns(None));
}

#[test]
fn an_answer_to_somebody_else_has_no_latency() {
    let mut reader = reader();
    reader.read(&segment(17, 40_000, 53, 0), &bytes(QUESTION));
    let other = segment(17, 53, 40_001, 1_000_000);
    assert_eq!(reader.read(&other, &answer()), dns(None));
}

#[test]
fn dns_over_tcp_has_a_length_first() {
    let message = [vec![0, 33], bytes(QUESTION)].concat();
    let seen = reader().read(&segment(6, 40_000, 53, 0), &message);
    assert_eq!(seen, dns(None));
}

#[test]
fn names_are_written_as_zone_files_write_them() {
    let message = bytes("1234010000010000000000000361 2e 00 00 0010 0001");
    let Some(Payload::Dns(seen)) = reader().read(&segment(17, 40_000, 53, 0), &message) else {
        panic!("no question");
    };
    assert_eq!(
        (seen.name.as_str(), seen.record_type.as_str()),
        ("a\\.\\000", "TXT")
    );
}

#[test]
fn questions_without_answers_do_not_pile_up() {
    let mut reader = reader();
    for id in 0..60_000_u16 {
        let mut question = bytes(QUESTION);
        question[..2].copy_from_slice(&id.to_be_bytes());
        reader.read(&segment(17, 40_000, 53, 0), &question);
    }
    let mut first = answer();
    first[..2].copy_from_slice(&0_u16.to_be_bytes());
    let (late, last) = (segment(17, 53, 40_000, 1_000_000), 59_999_u16.to_be_bytes());
    assert_eq!(reader.read(&late, &first), dns(None));
    first[..2].copy_from_slice(&last);
    assert_eq!(reader.read(&late, &first), dns(Some(1.0)));
}

fn samples() -> impl Strategy<Value = Vec<u8>> {
    let real = [
        GRPC_FLIGHT,
        GRPC_AGAIN,
        GET,
        GRPC_RESPONSE,
        GRPC_TRAILERS,
        HELLO,
        QUESTION,
    ];
    let text = b"GET /a/b?c=d HTTP/1.1\r\nHost: x\r\n\r\n".to_vec();
    prop::sample::select(
        real.map(bytes)
            .into_iter()
            .chain([text])
            .collect::<Vec<_>>(),
    )
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_fault(
        payload in prop::collection::vec(any::<u8>(), 0..600),
        protocol in prop::sample::select(vec![6_u8, 17, 132]),
        port in prop::sample::select(vec![53_u16, 80, 443, 5353]),
    ) {
        reader().read(&segment(protocol, 40_000, port, 0), &payload);
    }

    #[test]
    fn damaged_payloads_are_read_without_fault(
        payload in samples(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        keep in any::<prop::sample::Index>(),
        port in prop::sample::select(vec![53_u16, 80]),
    ) {
        let mut payload = payload;
        for (place, byte) in damage {
            let place = place.index(payload.len());
            payload[place] = byte;
        }
        payload.truncate(keep.index(payload.len() + 1));
        for protocol in [6, 17] {
            reader().read(&segment(protocol, 40_000, port, 0), &payload);
        }
    }

    #[test]
    fn a_cut_payload_never_tells_something_else(payload in samples(), keep in any::<prop::sample::Index>()) {
        let cut = &payload[..keep.index(payload.len() + 1)];
        if let (Some(Payload::Http(cut)), Some(Payload::Http(whole))) = (stream(cut), stream(&payload)) {
            prop_assert!(cut.method == whole.method && cut.status == whole.status);
            prop_assert!(cut.path.is_none() || cut.path == whole.path);
        }
    }
}
