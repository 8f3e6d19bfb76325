//! pcapng as tshark reads it: every field, and no complaint.

use std::io::Write;
use std::process::{Command, Stdio};

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use universal_tracer_core::xdp::capture::{
    CaptureSettings, CaptureWriter, CapturedPacket, Direction, InterfaceDescription, LinkType,
};

const NOON_NS: u64 = 1_764_072_000_123_456_789;

fn writer(max_packet_size: u32) -> CaptureWriter {
    CaptureWriter::new(CaptureSettings {
        max_packet_size,
        filter: Some("tcp port 80".to_owned()),
    })
}

fn interface(name: &str) -> InterfaceDescription {
    InterfaceDescription {
        name: name.to_owned(),
        mac: Some([2, 0, 0, 0, 0, 1]),
        bits_per_second: Some(10_000_000_000),
        ..InterfaceDescription::default()
    }
}

fn frame(payload: usize) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x00];
    frame.extend([0x45, 0]);
    frame.extend(((28 + payload) as u16).to_be_bytes());
    frame.extend([0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend([0x9c, 0x40, 0x1f, 0x90]);
    frame.extend(((8 + payload) as u16).to_be_bytes());
    frame.extend([0, 0]);
    frame.resize(frame.len() + payload, b'x');
    frame
}

fn packet(bytes: &[u8]) -> CapturedPacket<'_> {
    CapturedPacket {
        interface: 7,
        direction: Direction::Ingress,
        unix_ns: NOON_NS,
        wire_length: bytes.len() as u32,
        tag: None,
        bytes,
        process: None,
    }
}

pub(crate) fn rows(batch: Option<RecordBatch>) -> Vec<Vec<u8>> {
    let batch = batch.expect("blocks");
    let column = batch.column_by_name("blocks").unwrap().as_binary::<i32>();
    column.iter().map(|row| row.unwrap().to_vec()).collect()
}

/// What a program says about a capture that it is given on its standard input; anything on stderr is a fault.
pub(crate) fn said(program: &str, arguments: &[&str], capture: &[u8]) -> Option<String> {
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        eprintln!("skipped: {program} is not installed");
        return None;
    };
    child.stdin.take().unwrap().write_all(capture).unwrap();
    let output = child.wait_with_output().unwrap();
    let complaints = String::from_utf8(output.stderr).unwrap();
    let complaints: Vec<_> = complaints
        .lines()
        .filter(|line| !line.starts_with("Running as"))
        .collect();
    assert!(
        output.status.success() && complaints.is_empty(),
        "{program}: {complaints:?}"
    );
    Some(String::from_utf8(output.stdout).unwrap())
}

fn fields(names: &[&str], capture: &[u8]) -> Option<Vec<Vec<String>>> {
    let mut arguments = vec!["-n", "-r", "-", "-T", "fields"];
    names.iter().for_each(|name| arguments.extend(["-e", name]));
    let text = said("tshark", &arguments, capture)?;
    let line = |line: &str| line.split('\t').map(str::to_owned).collect();
    Some(text.lines().map(line).collect())
}

#[test]
fn tshark_reads_what_was_known_of_a_packet() {
    let mut writer = writer(1500);
    writer.interface(7, &interface("veth0"), NOON_NS);
    writer.interface(9, &interface("veth1"), NOON_NS);
    let bytes = frame(20);
    assert!(writer.packet(&packet(&bytes)));
    assert!(writer.packet(&CapturedPacket {
        interface: 9,
        direction: Direction::Egress,
        process: Some((1234, "curl\x1b")),
        ..packet(&bytes)
    }));
    writer.statistics(NOON_NS + 5);
    let capture = rows(writer.take().unwrap()).concat();
    let names = [
        "frame.time_epoch",
        "frame.interface_name",
        "frame.packet_flags_direction",
        "frame.len",
        "ip.src",
        "udp.dstport",
        "frame.comment",
    ];
    if let Some(lines) = fields(&names, &capture) {
        let time = "1764072000.123456789";
        let common = ["62", "10.0.0.1", "8080"];
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0][..3], [time, "veth0", "0x00000001"]);
        assert_eq!(lines[1][..3], [time, "veth1", "0x00000002"]);
        assert_eq!(lines[0][3..], [&common[..], &[""]].concat());
        assert_eq!(
            lines[1][3..],
            [&common[..], &["pid=1234 comm=curl?"]].concat()
        );
    }
}

#[test]
fn capinfos_knows_machine_interfaces_and_drops() {
    let mut writer = writer(1500);
    writer.interface(7, &interface("veth0"), NOON_NS);
    writer.packet(&packet(&frame(20)));
    writer.dropped(7, 5);
    writer.packet(&packet(&frame(20)));
    writer.statistics(NOON_NS);
    let capture = rows(writer.take().unwrap()).concat();
    let Some(text) = said("capinfos", &["-"], &capture) else {
        return;
    };
    for expected in [
        "universal-tracer",
        "Linux",
        "Name = veth0",
        "Time precision = nanoseconds (9)",
        "Capture length = 1500",
        "Filter string = tcp port 80",
        "Number of stat entries = 1",
        "Number of packets = 2",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let dropped = fields(&["frame.drop_count"], &capture);
    if let Some(lines) = dropped.filter(|lines| !lines.concat().concat().is_empty()) {
        assert_eq!(lines.concat(), ["", "5"]);
    }
}

#[test]
fn a_tag_beside_the_frame_is_put_in_its_place() {
    let mut writer = writer(1500);
    writer.interface(7, &interface("veth0"), NOON_NS);
    let bytes = frame(20);
    writer.packet(&CapturedPacket {
        tag: Some((0x8100, 0x2005)),
        wire_length: bytes.len() as u32 + 4,
        ..packet(&bytes)
    });
    let capture = rows(writer.take().unwrap()).concat();
    let names = [
        "vlan.id",
        "vlan.priority",
        "ip.dst",
        "frame.cap_len",
        "frame.len",
    ];
    if let Some(lines) = fields(&names, &capture) {
        assert_eq!(lines[0], ["5", "1", "10.0.0.2", "66", "66"]);
    }
}

#[test]
fn packets_are_cut_to_the_size_that_was_asked_for() {
    let mut writer = writer(64);
    writer.interface(7, &interface("veth0"), NOON_NS);
    let bytes = frame(1000);
    writer.packet(&packet(&bytes));
    writer.packet(&CapturedPacket {
        tag: Some((0x8100, 5)),
        ..packet(&bytes[..64])
    });
    let capture = rows(writer.take().unwrap()).concat();
    if let Some(lines) = fields(&["frame.cap_len", "frame.len"], &capture) {
        assert_eq!(lines, [["64", "1042"], ["64", "64"]]);
    }
}

#[test]
fn packets_without_ethernet_have_their_own_link_type() {
    let mut writer = writer(1500);
    let description = InterfaceDescription {
        link_type: LinkType::Raw,
        mac: None,
        ..interface("tun0")
    };
    writer.interface(7, &description, NOON_NS);
    writer.packet(&packet(&frame(20)[14..]));
    let capture = rows(writer.take().unwrap()).concat();
    if let Some(lines) = fields(&["ip.src"], &capture) {
        assert_eq!(lines[0], ["10.0.0.1"]);
    }
}

#[test]
fn a_capture_is_whole_after_each_row() {
    let mut writer = writer(1500);
    writer.interface(7, &interface("veth0"), NOON_NS);
    let bytes = frame(1400);
    let mut rows_so_far = Vec::new();
    for _ in 0..3 {
        for _ in 0..400 {
            writer.packet(&packet(&bytes));
        }
        rows_so_far.extend(rows(writer.take().unwrap()));
    }
    assert!(rows_so_far.len() > 6, "{}", rows_so_far.len());
    let mut capture = Vec::new();
    let mut counts = Vec::new();
    for row in rows_so_far {
        capture.extend(row);
        match fields(&["frame.number"], &capture) {
            Some(lines) => counts.push(lines.len()),
            None => return,
        }
    }
    assert!(
        counts.is_sorted() && counts.last() == Some(&1200),
        "{counts:?}"
    );
}

#[test]
fn what_finds_no_room_is_counted() {
    let mut writer = writer(65_535);
    writer.interface(7, &interface("veth0"), NOON_NS);
    let bytes = frame(60_000);
    let taken = (0..1000).filter(|_| writer.packet(&packet(&bytes))).count();
    assert!((500..1000).contains(&taken), "{taken}");
    rows(writer.take().unwrap());
    writer.packet(&packet(&bytes));
    writer.statistics(NOON_NS);
    let last = rows(writer.take().unwrap()).concat();
    let dropped = (1000 - taken as u64).to_ne_bytes();
    // once in the packet that follows, once in the statistics
    assert_eq!(
        last.windows(8).filter(|window| *window == dropped).count(),
        2
    );
    assert!(!writer.packet(&CapturedPacket {
        interface: 8,
        ..packet(&bytes)
    }));
}
