//! Payloads in whole packets: what is read of them equals what tshark reads.

use universal_tracer_core::decode::PrivacySettings;
use universal_tracer_core::xdp::capture::{
    CaptureSettings, CaptureWriter, CapturedPacket, Direction, InterfaceDescription,
};
use universal_tracer_core::xdp::payload::{Payload, PayloadReader, Segment};

use crate::capture::{rows, said};
use crate::payload::{GET, GRPC_FLIGHT, GRPC_RESPONSE, HELLO, bytes};

struct Packet {
    protocol: u8,
    ports: (u16, u16),
    payload: Vec<u8>,
    time_ns: u64,
}

fn ports_of(packet: &Packet) -> Vec<u8> {
    let (source, destination) = packet.ports;
    [source.to_be_bytes(), destination.to_be_bytes()].concat()
}

fn transport(packet: &Packet) -> Vec<u8> {
    let mut header = ports_of(packet);
    if packet.protocol == 6 {
        header.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 255, 255, 0, 0, 0, 0]);
    } else {
        header.extend((packet.payload.len() as u16 + 8).to_be_bytes());
        header.extend([0, 0]);
    }
    header
}

/// Each packet is of a connection of its own, told by the server's address.
fn frame(packet: &Packet, connection: u8) -> Vec<u8> {
    let (client, server) = ([10, 0, 0, 1], [10, 0, 1, connection]);
    let is_answer = packet.ports.0 < packet.ports.1;
    let (source, destination) = if is_answer {
        (server, client)
    } else {
        (client, server)
    };
    let transport = transport(packet);
    let length = (20 + transport.len() + packet.payload.len()) as u16;
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x00, 0x45, 0];
    frame.extend(length.to_be_bytes());
    frame.extend([0, 0, 0, 0, 64, packet.protocol, 0, 0]);
    frame.extend(source);
    frame.extend(destination);
    frame.extend(transport);
    frame.extend(&packet.payload);
    frame
}

fn segment(packet: &Packet, connection: u8) -> Segment {
    let (client, server) = ([10, 0, 0, 1].into(), [10, 0, 1, connection].into());
    let is_answer = packet.ports.0 < packet.ports.1;
    Segment {
        time_ns: packet.time_ns,
        protocol: packet.protocol,
        source: if is_answer { server } else { client },
        destination: if is_answer { client } else { server },
        source_port: packet.ports.0,
        destination_port: packet.ports.1,
    }
}

/// One line a packet: method, path, status, content type, name, protocols, question, type, answered in seconds.
fn tshark(packets: &[(u8, Packet)]) -> Option<Vec<Vec<String>>> {
    let mut writer = CaptureWriter::new(CaptureSettings {
        max_packet_size: 65_535,
        filter: None,
    });
    writer.interface(0, &InterfaceDescription::default(), 0);
    for (connection, packet) in packets {
        let bytes = frame(packet, *connection);
        writer.packet(&CapturedPacket {
            interface: 0,
            direction: Direction::Ingress,
            unix_ns: packet.time_ns,
            wire_length: bytes.len() as u32,
            tag: None,
            bytes: &bytes,
            process: None,
        });
    }
    let capture = rows(writer.take().unwrap()).concat();
    let names = [
        "http.request.method",
        "http.request.uri",
        "http.response.code",
        "http2.headers.method",
        "http2.headers.path",
        "http2.headers.status",
        "tls.handshake.extensions_server_name",
        "tls.handshake.extensions_alpn_str",
        "dns.qry.name",
        "dns.qry.type",
        "dns.time",
    ];
    let mut arguments = vec![
        "-n",
        "-r",
        "-",
        "-d",
        "tcp.port==50051,http2",
        "-T",
        "fields",
    ];
    names.iter().for_each(|name| arguments.extend(["-e", name]));
    let text = said("tshark", &arguments, &capture)?;
    let line = |line: &str| line.split('\t').map(str::to_owned).collect();
    Some(text.lines().map(line).collect())
}

/// The same line from what was read.
fn line(payload: Option<Payload>, is_http2: bool) -> Vec<String> {
    let mut line = vec![String::new(); 11];
    match payload {
        Some(Payload::Http(seen)) => {
            let first = if is_http2 { 3 } else { 0 };
            line[first] = seen.method.unwrap_or_default();
            line[first + 1] = seen.path.unwrap_or_default();
            line[first + 2] = seen
                .status
                .map(|status| status.to_string())
                .unwrap_or_default();
        }
        Some(Payload::Tls(seen)) => {
            line[6] = seen.sni.unwrap_or_default();
            line[7] = seen.alpn.join(",");
        }
        Some(Payload::Dns(seen)) => {
            line[8] = seen.name;
            line[9] = match seen.record_type.as_str() {
                "A" => "1".to_owned(),
                "AAAA" => "28".to_owned(),
                "HTTPS" => "65".to_owned(),
                other => other.trim_start_matches("TYPE").to_owned(),
            };
            line[10] = seen
                .latency_ms
                .map(|latency| format!("{:.9}", latency / 1000.0))
                .unwrap_or_default();
        }
        None => {}
    }
    line
}

fn tcp(ports: (u16, u16), payload: &[u8]) -> Packet {
    Packet {
        protocol: 6,
        ports,
        payload: payload.to_vec(),
        time_ns: 0,
    }
}

fn dns(is_answer: bool, kind: u16, time_ns: u64) -> Packet {
    let flags: [u8; 2] = if is_answer {
        [0x81, 0x80]
    } else {
        [0x01, 0x00]
    };
    let mut payload = vec![0x12, 0x34];
    payload.extend(flags);
    payload.extend([0, 1, 0, 0, 0, 0, 0, 0]);
    payload.extend(b"\x03www\x07example\x03com\x00");
    payload.extend(kind.to_be_bytes());
    payload.extend([0, 1]);
    Packet {
        protocol: 17,
        ports: if is_answer {
            (53, 40_000)
        } else {
            (40_000, 53)
        },
        payload,
        time_ns,
    }
}

fn http1(text: &str) -> Packet {
    let ports = if text.starts_with("HTTP/") {
        (80, 40_000)
    } else {
        (40_000, 80)
    };
    tcp(
        ports,
        format!("{text}\r\nContent-Length: 0\r\n\r\n").as_bytes(),
    )
}

/// The hello, filled up to the length that its headers announce.
fn whole_hello() -> Vec<u8> {
    let mut hello = bytes(HELLO);
    hello.pop();
    let padding = 5 + 0x200 - hello.len() as u16 - 4;
    hello.extend([0, 21]);
    hello.extend(padding.to_be_bytes());
    hello.resize(hello.len() + usize::from(padding), 0);
    hello
}

#[test]
fn what_is_read_equals_what_tshark_reads() {
    let packets: Vec<_> = [
        http1("GET / HTTP/1.1"),
        http1("GET /a/b%20c;d=e?f=g HTTP/1.1"),
        http1("POST /form HTTP/1.0"),
        http1("DELETE /a/1 HTTP/1.1"),
        http1("OPTIONS * HTTP/1.1"),
        http1("HTTP/1.1 200 OK"),
        http1("HTTP/1.1 404 Not Found"),
        http1("HTTP/1.0 503 Service Unavailable"),
        tcp((40_000, 50_051), &bytes(GRPC_FLIGHT)),
        tcp((40_000, 50_051), &bytes(GET)),
        tcp((50_051, 60_000), &bytes(GRPC_RESPONSE)),
        tcp((40_000, 443), &whole_hello()),
        tcp((40_000, 80), b"some other protocol\r\n"),
        tcp((40_000, 443), &[]),
    ]
    .into_iter()
    .zip(1..)
    .map(|(packet, connection)| (connection, packet))
    .chain([
        (100, dns(false, 28, 1_000_000_000)),
        (100, dns(true, 28, 1_012_345_678)),
        (101, dns(false, 1, 2_000_000_000)),
        (102, dns(true, 65, 3_000_000_000)),
    ])
    .collect();
    let Some(expected) = tshark(&packets) else {
        return;
    };
    let mut reader = PayloadReader::new(&PrivacySettings::default());
    for ((connection, packet), expected) in packets.iter().zip(expected) {
        let is_http2 = packet.ports.1 == 50_051 || packet.ports.0 == 50_051;
        let seen = line(
            reader.read(&segment(packet, *connection), &packet.payload),
            is_http2,
        );
        // the query is part of tshark's path
        let without_query = |text: &String| text.split('?').next().unwrap_or_default().to_owned();
        let expected: Vec<_> = expected.iter().map(without_query).collect();
        assert_eq!(
            seen,
            expected,
            "{:?}",
            String::from_utf8_lossy(&packet.payload)
        );
    }
}
