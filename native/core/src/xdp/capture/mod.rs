//! Packets as pcapng: what `--output trace.pcapng` holds, byte by byte.
//!
//! The bytes go past the events: a batch of their own with one binary column, which only capture outputs are
//! given. They write them as they are. Each row is a number of whole blocks, so that a file is valid after each.

mod blocks;

use std::sync::Arc;
use std::time::Duration;

use arrow_array::{ArrayRef, BinaryArray, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, Schema};

/// Bytes of blocks in a row, unless a single block is longer.
const ROW_BYTES: usize = 256 * 1024;
/// Bytes that wait for the reader; packets beyond are counted as dropped.
const WAITING_BYTES: usize = 32 * 1024 * 1024;
/// Where a VLAN tag belongs: behind the addresses.
const TAG_AT: usize = 12;

/// What comes before the packets' bytes in the frames of an interface.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LinkType {
    #[default]
    Ethernet,
    /// None: packets begin with the IP header.
    Raw,
}

impl LinkType {
    fn number(self) -> u16 {
        match self {
            Self::Ethernet => 1,
            Self::Raw => 101,
        }
    }
}

/// Where a packet was going.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    Ingress,
    Egress,
}

impl Direction {
    fn flags(self) -> u32 {
        match self {
            Self::Ingress => 1,
            Self::Egress => 2,
        }
    }
}

/// What every capture output begins with.
#[derive(Clone, Debug)]
pub struct CaptureSettings {
    /// Bytes kept of a packet.
    pub max_packet_size: u32,
    /// The expression that packets had to match.
    pub filter: Option<String>,
}

/// An interface, as it is told once.
#[derive(Clone, Debug, Default)]
pub struct InterfaceDescription {
    pub name: String,
    pub link_type: LinkType,
    pub mac: Option<[u8; 6]>,
    pub bits_per_second: Option<u64>,
}

/// A packet as it came from the ring.
#[derive(Clone, Copy, Debug)]
pub struct CapturedPacket<'a> {
    /// The session's number of the interface.
    pub interface: u16,
    pub direction: Direction,
    pub unix_ns: u64,
    /// Length on the wire, tag included.
    pub wire_length: u32,
    /// Protocol (as in the frame) and control information of a tag that is not in `bytes`.
    pub tag: Option<(u16, u16)>,
    pub bytes: &'a [u8],
    /// Owner of the local socket.
    pub process: Option<(u32, &'a str)>,
}

#[derive(Debug)]
struct Interface {
    number: u16,
    seen: u64,
    dropped: u64,
    /// Of `dropped`, those that no packet has told yet.
    untold: u64,
    told: Option<(u64, u64)>,
    begin: Duration,
}

/// Makes blocks of packets until they are taken.
#[derive(Debug)]
pub struct CaptureWriter {
    settings: CaptureSettings,
    /// The position is the interface's number in the file.
    interfaces: Vec<Interface>,
    bytes: Vec<u8>,
    /// Ends of the rows that are full.
    row_ends: Vec<usize>,
    comment: String,
}

impl CaptureWriter {
    /// Begins the section.
    pub fn new(settings: CaptureSettings) -> Self {
        let mut writer = Self {
            settings,
            interfaces: Vec::new(),
            bytes: Vec::new(),
            row_ends: Vec::new(),
            comment: String::new(),
        };
        let section = blocks::Section {
            hardware: &processor(),
            os: &operating_system(),
            application: concat!("universal-tracer ", env!("CARGO_PKG_VERSION")),
        };
        blocks::section(&mut writer.bytes, &section);
        writer
    }

    /// Introduces an interface; its packets come later. A number that is given again stands for the new one from now on.
    pub fn interface(&mut self, number: u16, description: &InterfaceDescription, unix_ns: u64) {
        let interface = blocks::Interface {
            link_type: description.link_type.number(),
            snap_length: self.settings.max_packet_size,
            name: &description.name,
            mac: description.mac,
            bits_per_second: description.bits_per_second,
            filter: self.settings.filter.as_deref(),
        };
        blocks::interface(&mut self.bytes, &interface);
        self.interfaces.push(Interface {
            number,
            seen: 0,
            dropped: 0,
            untold: 0,
            told: None,
            begin: Duration::from_nanos(unix_ns),
        });
    }

    /// Adds a packet. False where it found no room, or its interface is unknown: it is then counted as dropped.
    pub fn packet(&mut self, packet: &CapturedPacket<'_>) -> bool {
        let Some(index) = self.index(packet.interface) else {
            return false;
        };
        if self.bytes.len() >= WAITING_BYTES {
            self.dropped(packet.interface, 1);
            return false;
        }
        self.comment.clear();
        if let Some((pid, comm)) = packet.process {
            self.comment = process_comment(pid, comm);
        }
        let tag = packet.tag.map(tag_bytes);
        let interface = &mut self.interfaces[index];
        interface.seen += 1;
        let block = blocks::Packet {
            interface: index as u32,
            time: Duration::from_nanos(packet.unix_ns),
            wire_length: packet.wire_length,
            pieces: pieces(
                packet.bytes,
                tag.as_ref(),
                self.settings.max_packet_size as usize,
            ),
            flags: packet.direction.flags(),
            dropped_before: std::mem::take(&mut interface.untold),
            comment: packet.process.map(|_| self.comment.as_str()),
        };
        blocks::packet(&mut self.bytes, &block);
        self.end_row();
        true
    }

    /// Packets that should have been captured and were not.
    pub fn dropped(&mut self, interface: u16, count: u64) {
        if let Some(index) = self.index(interface) {
            self.interfaces[index].dropped += count;
            self.interfaces[index].untold += count;
        }
    }

    /// Tells the counts of every interface where they changed; once more at the end of the capture.
    pub fn statistics(&mut self, unix_ns: u64) {
        for (index, interface) in self.interfaces.iter_mut().enumerate() {
            let counts = (interface.seen + interface.dropped, interface.dropped);
            if interface.told == Some(counts) {
                continue;
            }
            interface.told = Some(counts);
            let statistics = blocks::Statistics {
                interface: index as u32,
                begin: interface.begin,
                end: Duration::from_nanos(unix_ns),
                received: counts.0,
                dropped: counts.1,
            };
            blocks::statistics(&mut self.bytes, &statistics);
        }
    }

    /// The blocks since the last time: `blocks` (binary), a number of whole blocks in each row.
    ///
    /// # Errors
    /// Never but for a fault of this code.
    pub fn take(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        self.row_ends.push(self.bytes.len());
        self.row_ends.dedup();
        let mut begin = 0;
        let rows = self.row_ends.iter().map(|&end| {
            let row = &self.bytes[begin..end];
            begin = end;
            row
        });
        let column: ArrayRef = Arc::new(BinaryArray::from_iter_values(rows));
        let schema = Schema::new(vec![Field::new("blocks", DataType::Binary, false)]);
        self.bytes.clear();
        self.row_ends.clear();
        RecordBatch::try_new(Arc::new(schema), vec![column]).map(Some)
    }

    /// The last one that was given this number.
    fn index(&self, number: u16) -> Option<usize> {
        self.interfaces
            .iter()
            .rposition(|interface| interface.number == number)
    }

    fn end_row(&mut self) {
        let begin = self.row_ends.last().copied().unwrap_or(0);
        if self.bytes.len() - begin >= ROW_BYTES {
            self.row_ends.push(self.bytes.len());
        }
    }
}

fn tag_bytes((protocol, control): (u16, u16)) -> [u8; 4] {
    let (protocol, control) = (protocol.to_be_bytes(), control.to_be_bytes());
    [protocol[0], protocol[1], control[0], control[1]]
}

/// The frame with its tag in its place, cut to `most` bytes.
fn pieces<'a>(bytes: &'a [u8], tag: Option<&'a [u8; 4]>, most: usize) -> [&'a [u8]; 3] {
    let tag: &[u8] = match tag {
        Some(tag) if bytes.len() >= TAG_AT => tag,
        _ => &[],
    };
    let (addresses, rest) = bytes.split_at(TAG_AT.min(bytes.len()));
    let mut left = most;
    [addresses, tag, rest].map(|piece| {
        let piece = &piece[..piece.len().min(left)];
        left -= piece.len();
        piece
    })
}

/// `pid=1234 comm=curl`, without characters that would confuse a terminal.
fn process_comment(pid: u32, comm: &str) -> String {
    let comm: String = comm
        .chars()
        .map(|one| if one.is_control() { '?' } else { one })
        .collect();
    if comm.is_empty() {
        format!("pid={pid}")
    } else {
        format!("pid={pid} comm={comm}")
    }
}

/// As `/proc/cpuinfo` names the first one; empty where it does not.
fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(':'))
        .map(|(_, name)| name.trim().to_owned())
        .unwrap_or_default()
}

/// `Linux 6.12.0 x86_64`
fn operating_system() -> String {
    let read =
        |name| std::fs::read_to_string(format!("/proc/sys/kernel/{name}")).unwrap_or_default();
    let (kind, release) = (read("ostype"), read("osrelease"));
    format!(
        "{} {} {}",
        kind.trim(),
        release.trim(),
        std::env::consts::ARCH
    )
}
