//! Properties that hold for any cut, any loss in bodies, any bytes.

use proptest::prelude::*;
use universal_tracer_core::decode::{DecodeSettings, HttpDecoder};
use universal_tracer_core::records::Record;

use crate::support::{MS, Row, Socket, Way::In, Way::Out, rows, tcp_endpoints};

/// A message: its bytes, and which of them lie in a body's data (that may go unseen).
#[derive(Clone, Debug)]
struct Message {
    bytes: Vec<u8>,
    body: std::ops::Range<usize>,
}

impl Message {
    fn new(head: String, body: &[u8], end: &[u8]) -> Self {
        let start = head.len();
        let bytes = [head.as_bytes(), body, end].concat();
        Self {
            body: start..start + body.len(),
            bytes,
        }
    }
}

fn framed(start: &str, chunked: bool, body: &[u8]) -> Message {
    match chunked {
        true if !body.is_empty() => {
            let head = format!(
                "{start}Transfer-Encoding: chunked\r\n\r\n{:x};e=1\r\n",
                body.len()
            );
            Message::new(head, body, b"\r\n0\r\nTrailer: x\r\n\r\n")
        }
        true => Message::new(
            format!("{start}Transfer-Encoding: chunked\r\n\r\n"),
            b"",
            b"0\r\n\r\n",
        ),
        false => Message::new(
            format!("{start}Content-Length: {}\r\n\r\n", body.len()),
            body,
            b"",
        ),
    }
}

fn any_body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => prop::collection::vec(any::<u8>(), 0..60),
        // bodies that look like messages
        1 => Just(b"GET /no HTTP/1.1\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec()),
    ]
}

fn any_exchange() -> impl Strategy<Value = (Message, Message)> {
    let method = prop::sample::select(vec!["GET", "POST", "HEAD", "PATCH", "x-own"]);
    let status = prop::sample::select(vec![200u16, 204, 304, 404, 500]);
    let path = "/[a-z]{1,8}(/[0-9]{1,4})?(\\?[a-z]=[a-z]{0,5})?";
    (
        method,
        path,
        status,
        any_body(),
        any_body(),
        any::<[bool; 3]>(),
    )
        .prop_map(
            |(method, path, status, request_body, body, [request_chunked, chunked, interim])| {
                let start = format!("{method} {path} HTTP/1.1\r\nHost: h\r\nX-Folded: a\r\n b\r\n");
                let request = framed(&start, request_chunked, &request_body);
                let start = format!("HTTP/1.1 {status} Reason\r\nServer: s\r\n");
                let mut answer = if method == "HEAD" || matches!(status, 204 | 304) {
                    Message::new(format!("{start}Content-Length: 5\r\n\r\n"), b"", b"")
                } else {
                    framed(&start, chunked, &body)
                };
                if interim {
                    let before = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
                    answer.bytes.splice(0..0, before.iter().copied());
                    answer.body = answer.body.start + before.len()..answer.body.end + before.len();
                }
                (request, answer)
            },
        )
}

/// One direction: all its bytes, and which of them may go unseen.
#[derive(Clone, Debug, Default)]
struct Flow {
    bytes: Vec<u8>,
    is_body: Vec<bool>,
    ends: Vec<usize>,
}

impl Flow {
    fn push(&mut self, message: &Message) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&message.bytes);
        self.is_body
            .extend((0..message.bytes.len()).map(|place| message.body.contains(&place)));
        self.ends.push(start + message.bytes.len());
    }

    /// How many bytes of an operation must be copied: up to the last one that is no body.
    fn least_captured(&self, start: usize, end: usize) -> usize {
        (start..end)
            .rev()
            .find(|&place| !self.is_body[place])
            .map_or(0, |place| place + 1 - start)
    }
}

/// Plays both flows cut at the given places. Requests are sent ahead of their answers by any
/// number (pipelining), but never behind them.
fn play(flows: &[Flow; 2], cuts: &[Vec<usize>; 2], captures: &[f64], lead: &[bool]) -> Vec<Row> {
    let mut socket = Socket::server();
    let mut at = [0, 0];
    let mut turn = 0;
    while at[0] < flows[0].bytes.len() || at[1] < flows[1].bytes.len() {
        let answered = flows[1].ends.iter().filter(|&&end| end <= at[1]).count();
        let asked = flows[0].ends.iter().filter(|&&end| end <= at[0]).count();
        let may_answer = asked > answered && at[1] < flows[1].bytes.len();
        let may_ask = at[0] < flows[0].bytes.len();
        let dir = usize::from(may_answer && (!may_ask || lead[turn % lead.len()]));
        let flow = &flows[dir];
        let limit = if dir == 1 {
            flow.ends[asked - 1]
        } else {
            flow.bytes.len()
        };
        let next = cuts[dir]
            .iter()
            .copied()
            .find(|&cut| cut > at[dir])
            .unwrap_or(flow.bytes.len())
            .min(limit);
        let least = flow.least_captured(at[dir], next);
        let room = next - at[dir] - least;
        let captured = least + (room as f64 * captures[turn % captures.len()]).round() as usize;
        socket.op_captured(
            if dir == 1 { Out } else { In },
            &flow.bytes[at[dir]..next],
            captured,
        );
        at[dir] = next;
        turn += 1;
        if turn % 5 == 0 {
            socket.advance();
        }
    }
    assert_eq!(socket.decoder.open(), (1, 0), "every request was answered");
    socket.http()
}

const COMPARED: &str = "method path query route status error request_bytes response_bytes request_headers \
                        response_headers request_id role protocol";

fn whole_operations(flow: &Flow) -> Vec<usize> {
    flow.ends.clone()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_gives_the_same_events(
        exchanges in prop::collection::vec(any_exchange(), 1..6),
        places in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 0..60),
        captures in prop::collection::vec(0.0..=1.0f64, 1..20),
        lead in prop::collection::vec(any::<bool>(), 1..20),
    ) {
        let mut flows = [Flow::default(), Flow::default()];
        for (request, answer) in &exchanges {
            flows[0].push(request);
            flows[1].push(answer);
        }
        let mut cuts = [Vec::new(), Vec::new()];
        for (answers, place) in places {
            let dir = usize::from(answers);
            cuts[dir].push(place.index(flows[dir].bytes.len()));
        }
        cuts.iter_mut().for_each(|cuts| cuts.sort_unstable());
        let whole = [whole_operations(&flows[0]), whole_operations(&flows[1])];
        let expected = play(&flows, &whole, &[1.0], &[true]);
        let events = play(&flows, &cuts, &captures, &lead);
        prop_assert_eq!(expected.len(), exchanges.len());
        for (event, expected) in events.iter().zip(&expected) {
            prop_assert_eq!(event.some(COMPARED), expected.some(COMPARED));
            prop_assert!(event.number("ttfb_ms") >= 0.0 && event.number("latency_ms") >= event.number("ttfb_ms"));
        }
        prop_assert_eq!(events.len(), expected.len());
    }

    #[test]
    fn a_drain_may_come_in_any_order_of_threads(
        count in 1usize..8,
        order in prop::collection::vec(any::<bool>(), 16),
    ) {

        let mut socket = Socket::server();
        let mut records = Vec::new();
        for number in 0..count {
            for (way, text) in [(In, crate::support::get(&format!("/{number}"))), (Out, crate::support::ok("x"))] {
                records.push((socket.make_op(way, text.len()), text));
            }
        }
        // neighbours change places; nothing but the first record tells where the requests begin
        let mut place = 1;
        for swap in order {
            if swap && place + 1 < records.len() {
                records.swap(place, place + 1);
                place += 1;
            }
            place += 1;
        }
        for (record, text) in &records {
            socket.push(*record, text.as_bytes());
        }
        socket.advance();
        let rows = socket.http();
        let paths: Vec<String> = rows.iter().map(|row| row.some("path status error")).collect();
        let expected: Vec<String> = (0..count).map(|number| format!("/{number} 200 -")).collect();
        prop_assert_eq!(paths, expected);
    }

    #[test]
    fn any_bytes_are_survived_within_bounds(
        records in prop::collection::vec(
            (0u64..4, any::<u32>(), 0u32..9000, any::<u16>(), 0u16..6, prop::collection::vec(any::<u8>(), 0..200), any::<u8>()),
            0..200,
        ),
    ) {
        let mut decoder = HttpDecoder::new(DecodeSettings { max_connections: 3, correlation_table_size: 4, ..DecodeSettings::default() });
        for (turn, (connection, sequence, length, flags, kind, bytes, choice)) in records.into_iter().enumerate() {
            let payload: Vec<u8> = match choice % 8 {
                0 => b"GET /a?b=c HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(),
                1 => b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n".to_vec(),
                2 => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab".to_vec(),
                3 => b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(),
                4 => b"CONNECT h:1 HTTP/1.1\r\n\r\n".to_vec(),
                5 => tcp_endpoints(5).to_bytes(),
                _ => bytes,
            };
            let record = Record {
                time_ns: turn as u64 * MS,
                connection,
                pid: 1,
                tid: sequence % 5,
                // near each other, so that streams go on, overlap and have gaps
                sequence: sequence % 700,
                length: if choice > 100 { payload.len() as u32 } else { length },
                captured: payload.len() as u32,
                rtt_us: 1,
                retransmits: 0,
                kind,
                flags,
                comm: [0xff; 16],
            };
            let mut bytes = record.to_bytes();
            bytes.extend(payload);
            decoder.record(&bytes);
            if choice % 16 == 15 {
                decoder.advance(turn as u64 * 1000 * MS);
            }
            let (connections, open) = decoder.open();
            prop_assert!(connections <= 16 && open <= 4);
            prop_assert!(decoder.memory_bytes() < 2_000_000);
        }
        decoder.advance(u64::MAX / 2);
        decoder.finish();
        for row in rows(decoder.take().http) {
            prop_assert!(row.get("latency_ms") == "-" || row.number("latency_ms") >= 0.0);
            prop_assert!(row.number("request_bytes") < 1e7 && row.number("response_bytes") < 1e10);
        }
        prop_assert_eq!(decoder.open(), (0, 0));
    }

    #[test]
    fn secrets_never_get_into_a_column(
        place in 0usize..13,
        secret in 0usize..7,
        encoding in 0usize..3,
        cut in any::<prop::sample::Index>(),
        filler in "[a-z ]{0,300}",
    ) {
        let secrets = [
            "jane.doe@example.org",
            "4111111111111111",
            "4111 1111 1111 1111",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
            "AKIAIOSFODNN7EXAMPLE",
            "DE89370400440532013000",
            "ghp_0123456789abcdefghij0123456789abcdef",
        ];
        let plain = secrets[secret];
        let text = match encoding {
            0 => plain.replace(' ', "-"),
            1 => plain.bytes().map(|byte| format!("%{byte:02X}")).collect(),
            _ => plain.replace('@', "%40").replace(' ', "%20").replace('.', "%2e"),
        };
        let (mut path, mut query, mut fields, mut body, mut answer_fields, mut answer_body) =
            ("/a".to_owned(), "q=1".to_owned(), String::new(), String::new(), String::new(), String::new());
        let (mut kind, mut answer_kind) = ("text/plain", "text/plain");
        match place {
            0 => path = format!("/u/{text}/x"),
            1 => query = format!("a=b&c={text}&d=e"),
            2 => query = format!("c={text}"),
            3 => fields = format!("X-Own: see {text} here\r\n"),
            4 => fields = format!("Referer: https://h/p/{text}?x=1\r\n"),
            5 => answer_fields = format!("Location: /x?m={text}\r\n"),
            6 => body = format!("{filler} {text} {filler}"),
            7 => { kind = "application/json"; body = format!("{{\"a\":\"{filler}\",\"b\":\"{text}\",\"c\":1}}"); }
            8 => { kind = "application/x-www-form-urlencoded"; body = format!("a=b&c={text}&d={}", filler.replace(' ', "+")); }
            9 => { answer_kind = "application/json"; answer_body = format!("{{\"my_token\":{{\"x\":\"{text}\"}},\"b\":\"{filler}\"}}"); }
            10 => { answer_kind = "text/html"; answer_body = format!("<p title='{text}'>{filler}</p><b>{text}</b>"); }
            11 => fields = format!("Authorization: Basic {text}\r\nCookie: a={text}\r\nX-Auth-Token: {text}\r\n"),
            _ => query = format!("password={text}&x"),
        }
        let request = format!(
            "POST {path}?{query} HTTP/1.1\r\nHost: h\r\n{fields}Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = format!(
            "HTTP/1.1 200 OK\r\n{answer_fields}Content-Type: {answer_kind}\r\nContent-Length: {}\r\n\r\n{answer_body}",
            answer_body.len()
        );
        let mut socket = Socket::server();
        let cut = cut.index(request.len());
        let answer_cut = cut.min(answer.len());
        // what comes again is treated in another way, with the same result
        for _ in 0..3 {
            socket.op(In, &request[..cut]).op(In, &request[cut..]);
            socket.op(Out, &answer[..answer_cut]).op(Out, &answer[answer_cut..]);
        }
        let rows = socket.http();
        prop_assert_eq!(rows.len(), 3);
        prop_assert!(rows.iter().all(|row| row.get("status") == "200"));
        for (column, value) in rows.iter().flat_map(|row| &row.0) {
            // half of it would be too much as well
            for secret in [&text[..text.len() * 2 / 3], &plain[..plain.len() * 2 / 3]] {
                prop_assert!(!value.contains(secret), "{} in {}: {}", secret, column, value);
            }
        }
    }
}
