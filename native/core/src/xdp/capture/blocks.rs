//! Blocks of pcapng (draft-ietf-opsawg-pcapng), in the machine's byte order.
//!
//! A block is its type, its length, a body of whole words and its length once more. Options close a body.

use std::time::Duration;

/// Block types.
const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const STATISTICS: u32 = 5;
const PACKET: u32 = 6;

const BYTE_ORDER: u32 = 0x1a2b_3c4d;
/// Not known when the section begins.
const SECTION_LENGTH: u64 = u64::MAX;
/// Fractions of a second in timestamps: 10^-9.
const NANOSECONDS: u8 = 9;

/// Option codes; each kind of block has its own.
mod option {
    pub(super) const COMMENT: u16 = 1;
    pub(super) const SECTION_HARDWARE: u16 = 2;
    pub(super) const SECTION_OS: u16 = 3;
    pub(super) const SECTION_APPLICATION: u16 = 4;
    pub(super) const INTERFACE_NAME: u16 = 2;
    pub(super) const INTERFACE_MAC: u16 = 6;
    pub(super) const INTERFACE_SPEED: u16 = 8;
    pub(super) const INTERFACE_RESOLUTION: u16 = 9;
    pub(super) const INTERFACE_FILTER: u16 = 11;
    pub(super) const PACKET_FLAGS: u16 = 2;
    pub(super) const PACKET_DROPPED: u16 = 4;
    pub(super) const STATISTICS_BEGIN: u16 = 2;
    pub(super) const STATISTICS_END: u16 = 3;
    pub(super) const STATISTICS_RECEIVED: u16 = 4;
    pub(super) const STATISTICS_DROPPED: u16 = 5;
}

/// Who writes a section, where.
#[derive(Clone, Debug, Default)]
pub(super) struct Section<'a> {
    pub(super) hardware: &'a str,
    pub(super) os: &'a str,
    pub(super) application: &'a str,
}

/// An interface as its block describes it.
#[derive(Clone, Debug)]
pub(super) struct Interface<'a> {
    pub(super) link_type: u16,
    pub(super) snap_length: u32,
    pub(super) name: &'a str,
    pub(super) mac: Option<[u8; 6]>,
    pub(super) bits_per_second: Option<u64>,
    pub(super) filter: Option<&'a str>,
}

/// A packet, and what is known around it.
#[derive(Clone, Debug)]
pub(super) struct Packet<'a> {
    pub(super) interface: u32,
    pub(super) time: Duration,
    pub(super) wire_length: u32,
    /// What was captured, in pieces.
    pub(super) pieces: [&'a [u8]; 3],
    pub(super) flags: u32,
    pub(super) dropped_before: u64,
    pub(super) comment: Option<&'a str>,
}

/// Counts since the capture began.
#[derive(Clone, Debug)]
pub(super) struct Statistics {
    pub(super) interface: u32,
    pub(super) begin: Duration,
    pub(super) end: Duration,
    pub(super) received: u64,
    pub(super) dropped: u64,
}

/// Appends blocks to bytes.
#[derive(Debug)]
pub(super) struct Block<'a> {
    out: &'a mut Vec<u8>,
    begin: usize,
}

impl<'a> Block<'a> {
    fn new(out: &'a mut Vec<u8>, kind: u32) -> Self {
        let begin = out.len();
        let mut block = Self { out, begin };
        block.word(kind).word(0); // the length, see `end`
        block
    }

    fn word(&mut self, value: u32) -> &mut Self {
        self.out.extend_from_slice(&value.to_ne_bytes());
        self
    }

    fn half(&mut self, value: u16) -> &mut Self {
        self.out.extend_from_slice(&value.to_ne_bytes());
        self
    }

    /// The upper half of a time comes first.
    fn time(&mut self, time: Duration) -> &mut Self {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.word((nanoseconds >> 32) as u32)
            .word(nanoseconds as u32)
    }

    fn padded(&mut self, pieces: &[&[u8]]) -> &mut Self {
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        for piece in pieces {
            self.out.extend_from_slice(piece);
        }
        let padding = length.next_multiple_of(4) - length;
        self.out.extend_from_slice(&[0; 3][..padding]);
        self
    }

    /// Values longer than an option can be are cut.
    fn option(&mut self, code: u16, value: &[u8]) -> &mut Self {
        let length = value.len().min(usize::from(u16::MAX));
        self.half(code)
            .half(length as u16)
            .padded(&[&value[..length]])
    }

    fn text(&mut self, code: u16, value: &str) -> &mut Self {
        if value.is_empty() {
            return self;
        }
        self.option(code, value.as_bytes())
    }

    fn number(&mut self, code: u16, value: u64) -> &mut Self {
        self.option(code, &value.to_ne_bytes())
    }

    fn time_option(&mut self, code: u16, time: Duration) -> &mut Self {
        self.half(code).half(8).time(time)
    }

    fn end(&mut self) {
        self.word(0); // end of the options
        let length = (self.out.len() - self.begin + 4) as u32;
        self.word(length);
        self.out[self.begin + 4..self.begin + 8].copy_from_slice(&length.to_ne_bytes());
    }
}

pub(super) fn section(out: &mut Vec<u8>, section: &Section<'_>) {
    let mut block = Block::new(out, SECTION);
    block.word(BYTE_ORDER).half(1).half(0);
    block.out.extend_from_slice(&SECTION_LENGTH.to_ne_bytes());
    block
        .text(option::SECTION_HARDWARE, section.hardware)
        .text(option::SECTION_OS, section.os)
        .text(option::SECTION_APPLICATION, section.application)
        .end();
}

pub(super) fn interface(out: &mut Vec<u8>, interface: &Interface<'_>) {
    let mut block = Block::new(out, INTERFACE);
    block
        .half(interface.link_type)
        .half(0)
        .word(interface.snap_length);
    block.text(option::INTERFACE_NAME, interface.name);
    if let Some(mac) = interface.mac {
        block.option(option::INTERFACE_MAC, &mac);
    }
    if let Some(speed) = interface.bits_per_second {
        block.number(option::INTERFACE_SPEED, speed);
    }
    block.option(option::INTERFACE_RESOLUTION, &[NANOSECONDS]);
    if let Some(filter) = interface.filter {
        // its first byte says that it is an expression of libpcap
        block.option(
            option::INTERFACE_FILTER,
            &[b"\0", filter.as_bytes()].concat(),
        );
    }
    block.end();
}

pub(super) fn packet(out: &mut Vec<u8>, packet: &Packet<'_>) {
    let captured: usize = packet.pieces.iter().map(|piece| piece.len()).sum();
    let mut block = Block::new(out, PACKET);
    block
        .word(packet.interface)
        .time(packet.time)
        .word(captured as u32)
        .word(packet.wire_length.max(captured as u32))
        .padded(&packet.pieces)
        .option(option::PACKET_FLAGS, &packet.flags.to_ne_bytes());
    if packet.dropped_before > 0 {
        block.number(option::PACKET_DROPPED, packet.dropped_before);
    }
    block.text(option::COMMENT, packet.comment.unwrap_or_default());
    block.end();
}

pub(super) fn statistics(out: &mut Vec<u8>, statistics: &Statistics) {
    Block::new(out, STATISTICS)
        .word(statistics.interface)
        .time(statistics.end)
        .time_option(option::STATISTICS_BEGIN, statistics.begin)
        .time_option(option::STATISTICS_END, statistics.end)
        .number(option::STATISTICS_RECEIVED, statistics.received)
        .number(option::STATISTICS_DROPPED, statistics.dropped)
        .end();
}
