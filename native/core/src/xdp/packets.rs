//! Packets from the ring: to `packet` events, and to the capture.
//!
//! A thread of its own empties the ring by the clock; the kernel never wakes it.

use std::collections::HashMap;
use std::fs;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arrow_array::RecordBatch;
use libbpf_rs::{MapHandle, RingBufferBuilder};

use super::capture::{
    CaptureSettings, CaptureWriter, CapturedPacket, Direction, InterfaceDescription, LinkType,
};
use super::flows::{FlowText, address};
use super::interface::{InterfaceFacts, InterfaceTarget};
use super::payload::{Payload, PayloadReader, Segment};
use super::records::{INGRESS, PacketRecord, packet_flag, packet_kind};
use super::settings::XdpSettings;
use crate::clock::unix_minus_monotonic_ns;
use crate::columns::{IcmpRow, PacketColumns, PacketRow};
use crate::error::{Error, ErrorKind, Result};

/// At a gigabit a second, a twentieth of the ring.
const DRAIN_INTERVAL: Duration = Duration::from_millis(10);
/// Events of a second.
const EVENTS_PER_SECOND: u64 = 10_000;
const SECOND_NS: u64 = 1_000_000_000;
/// Names of processes that are remembered; a name is read again after that many others.
const REMEMBERED_NAMES: usize = 1024;
const TAG_BYTES: u32 = 4;
const TCP: u8 = 6;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const DIRECTIONS: [&str; 2] = ["ingress", "egress"];

/// What came since the last time.
#[derive(Debug, Default)]
pub(super) struct TakenPackets {
    pub events: Option<RecordBatch>,
    pub capture: Option<RecordBatch>,
    /// Events beyond the most of a second.
    pub capped: u64,
    /// Packets that the capture had no room for.
    pub uncaptured: u64,
}

/// How many events of this second were told, and how many had a payload in the one before.
#[derive(Clone, Copy, Debug, Default)]
struct Budget {
    second: u64,
    told: u64,
    special: u64,
    special_before: u64,
}

impl Budget {
    /// Whether one more may be told. Those with a payload that was read come first: room is kept for as many as
    /// there were in the second before.
    fn allows(&mut self, time_ns: u64, is_special: bool) -> bool {
        let second = time_ns / SECOND_NS;
        if second != self.second {
            *self = Self {
                second,
                special_before: if second == self.second + 1 {
                    self.special
                } else {
                    0
                },
                ..Self::default()
            };
        }
        self.special += u64::from(is_special);
        let kept = if is_special {
            0
        } else {
            self.special_before.saturating_sub(self.special)
        };
        let allows = self.told + kept < EVENTS_PER_SECOND;
        self.told += u64::from(allows);
        allows
    }
}

/// Reads records and keeps columns and blocks until somebody takes them.
#[derive(Debug)]
pub(crate) struct PacketReader {
    payloads: PayloadReader,
    columns: PacketColumns,
    capture: Option<CaptureWriter>,
    budget: Budget,
    capped: u64,
    uncaptured: u64,
    /// By the session's numbers.
    interfaces: Vec<String>,
    comms: HashMap<u32, Option<String>>,
    text: FlowText,
    unix_minus_monotonic_ns: i64,
}

impl PacketReader {
    pub(crate) fn new(settings: &XdpSettings) -> Self {
        let capture = (settings.capture_bytes > 0).then(|| {
            CaptureWriter::new(CaptureSettings {
                max_packet_size: settings.capture_bytes,
                filter: settings.expression.clone(),
            })
        });
        Self {
            payloads: PayloadReader::new(&settings.privacy),
            columns: PacketColumns::new(),
            capture,
            budget: Budget::default(),
            capped: 0,
            uncaptured: 0,
            interfaces: Vec::new(),
            comms: HashMap::new(),
            text: FlowText::default(),
            unix_minus_monotonic_ns: unix_minus_monotonic_ns(),
        }
    }

    /// Packets of this interface may come from now on.
    pub(crate) fn add(&mut self, number: u16, target: &InterfaceTarget, facts: &InterfaceFacts) {
        let at = usize::from(number);
        let length = self.interfaces.len().max(at + 1);
        self.interfaces.resize(length, String::new());
        self.interfaces[at].clone_from(&target.name);
        let description = InterfaceDescription {
            name: target.name.clone(),
            link_type: if facts.has_link_header {
                LinkType::Ethernet
            } else {
                LinkType::Raw
            },
            mac: facts.mac.filter(|_| facts.has_link_header),
            bits_per_second: None,
        };
        if let Some(capture) = &mut self.capture {
            let now_ns = crate::clock::monotonic_ns().cast_signed() + unix_minus_monotonic_ns();
            capture.interface(number, &description, now_ns.cast_unsigned());
        }
    }

    /// Packets that found the ring full.
    pub(crate) fn lost(&mut self, number: u16, count: u64) {
        if let Some(capture) = self.capture.as_mut().filter(|_| count > 0) {
            capture.dropped(number, count);
        }
    }

    /// A record as it lies in the ring; a short one is none.
    fn record(&mut self, data: &[u8]) {
        let Some((head, bytes)) = data.split_at_checked(size_of::<PacketRecord>()) else {
            return;
        };
        // SAFETY: as many bytes as the struct has, which consists of integers.
        let record: PacketRecord = unsafe { std::ptr::read_unaligned(head.as_ptr().cast()) };
        let bytes = &bytes[..bytes.len().min(record.captured as usize)];
        let unix_ns = record.time_ns.cast_signed() + self.unix_minus_monotonic_ns;
        self.keep(&record, bytes, unix_ns);
        if record.flags & packet_flag::FOR_EVENT != 0 {
            self.tell(&record, bytes, unix_ns);
        }
    }

    fn keep(&mut self, record: &PacketRecord, bytes: &[u8], unix_ns: i64) {
        if self.capture.is_none() {
            return;
        }
        let comm = self.comm(record.pid);
        let Some(capture) = &mut self.capture else {
            return;
        };
        let packet = CapturedPacket {
            interface: record.key.interface,
            direction: if usize::from(record.direction) == INGRESS {
                Direction::Ingress
            } else {
                Direction::Egress
            },
            unix_ns: unix_ns.cast_unsigned(),
            wire_length: wire_length(record),
            tag: (record.flags & packet_flag::TAG_ASIDE != 0)
                .then(|| (u16::from_be_bytes(record.tag_protocol), record.tag)),
            bytes,
            process: (record.pid > 0).then(|| (record.pid, comm.as_deref().unwrap_or_default())),
        };
        self.uncaptured += u64::from(!capture.packet(&packet));
    }

    fn tell(&mut self, record: &PacketRecord, bytes: &[u8], unix_ns: i64) {
        let payload = self.payload(record, bytes);
        if !self.budget.allows(record.time_ns, payload.is_some()) {
            self.capped += 1;
            return;
        }
        let direction = usize::from(record.direction.min(1));
        let is_parsed = record.flags & packet_flag::UNPARSED == 0;
        let icmp = [ICMP, ICMPV6]
            .contains(&record.key.protocol)
            .then_some(IcmpRow {
                kind: record.icmp_type,
                code: record.icmp_code,
            });
        let comm = self.comm(record.pid);
        self.text.set(&record.key, &record.inner, direction);
        let number = usize::from(record.key.interface);
        self.columns.push(&PacketRow {
            timestamp_ns: unix_ns,
            pid: (record.pid > 0).then_some(record.pid),
            comm: comm.as_deref(),
            interface: self.interfaces.get(number).map_or("", String::as_str),
            direction: DIRECTIONS[direction],
            key: is_parsed.then(|| self.text.row(&record.key, &record.inner, direction, icmp)),
            length: wire_length(record).into(),
            tcp_flags: (is_parsed && record.key.protocol == TCP).then_some(record.tcp_flags),
            payload: payload.as_ref(),
        });
    }

    fn payload(&mut self, record: &PacketRecord, bytes: &[u8]) -> Option<Payload> {
        let is_later_fragment = record.flags & packet_flag::FRAGMENT != 0;
        if record.kind == packet_kind::PLAIN || is_later_fragment {
            return None;
        }
        let payload = bytes.get(record.payload_offset as usize..)?;
        let payload = &payload[..payload.len().min(record.payload_length as usize)];
        self.payloads.read(&segment(record), payload)
    }

    /// The process's name, read once.
    fn comm(&mut self, pid: u32) -> Option<String> {
        if pid == 0 {
            return None;
        }
        if self.comms.len() >= REMEMBERED_NAMES {
            self.comms.clear();
        }
        let read = || {
            let text = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
            Some(text.trim_end_matches('\n').to_owned())
        };
        self.comms.entry(pid).or_insert_with(read).clone()
    }

    fn take(&mut self) -> TakenPackets {
        TakenPackets {
            events: self.columns.finish().unwrap_or_default(),
            capture: self
                .capture
                .as_mut()
                .and_then(|capture| capture.take().unwrap_or_default()),
            capped: std::mem::take(&mut self.capped),
            uncaptured: std::mem::take(&mut self.uncaptured),
        }
    }
}

/// With the tag that lies beside the bytes.
fn wire_length(record: &PacketRecord) -> u32 {
    let is_aside = record.flags & packet_flag::TAG_ASIDE != 0;
    record.wire_length + if is_aside { TAG_BYTES } else { 0 }
}

fn segment(record: &PacketRecord) -> Segment {
    let key = &record.key;
    let remote = (
        address(key.family, &key.remote),
        u16::from_be_bytes(key.remote_port),
    );
    let local = (
        address(key.family, &key.local),
        u16::from_be_bytes(key.local_port),
    );
    let (source, destination) = if usize::from(record.direction) == INGRESS {
        (remote, local)
    } else {
        (local, remote)
    };
    Segment {
        time_ns: record.time_ns,
        protocol: key.protocol,
        source: source.0,
        destination: destination.0,
        source_port: source.1,
        destination_port: destination.1,
    }
}

/// What the ring's thread and the reader of columns share.
pub(crate) struct SharedPackets {
    reader: Mutex<PacketReader>,
    stop: Mutex<bool>,
    stopped: Condvar,
}

impl SharedPackets {
    pub(crate) fn new(reader: PacketReader) -> Arc<Self> {
        Arc::new(Self {
            reader: Mutex::new(reader),
            stop: Mutex::new(false),
            stopped: Condvar::new(),
        })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, PacketReader> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What came since the last time. The last time, the capture's counts are in it.
    pub(crate) fn take(&self, is_last: bool) -> TakenPackets {
        let mut reader = self.lock();
        if let Some(capture) = reader.capture.as_mut().filter(|_| is_last) {
            let now_ns = crate::clock::monotonic_ns().cast_signed() + unix_minus_monotonic_ns();
            capture.statistics(now_ns.cast_unsigned());
        }
        reader.take()
    }

    pub(crate) fn request_stop(&self) {
        *self.stop.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stopped.notify_all();
    }

    fn wait(&self) -> bool {
        let stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner);
        *self
            .stopped
            .wait_timeout_while(stop, DRAIN_INTERVAL, |stop| !*stop)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }
}

/// Empties the ring until [`SharedPackets::request_stop`], and once more then.
pub(crate) fn run(shared: &Arc<SharedPackets>, ring: &MapHandle) -> Result<()> {
    let failed = |error: libbpf_rs::Error| {
        Error::new(
            ErrorKind::Failed,
            "cannot read the packets' ring",
            error,
            "run again with -v and report it",
        )
    };
    let reader = Arc::clone(shared);
    let mut builder = RingBufferBuilder::new();
    builder
        .add(ring, move |data| {
            reader.lock().record(data);
            0
        })
        .map_err(failed)?;
    let ring = builder.build().map_err(failed)?;
    loop {
        let is_over = shared.wait();
        shared.lock().unix_minus_monotonic_ns = unix_minus_monotonic_ns();
        ring.consume().map_err(failed)?;
        if is_over {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Budget, EVENTS_PER_SECOND, SECOND_NS};

    fn told(budget: &mut Budget, second: u64, count: u64, is_special: bool) -> u64 {
        (0..count)
            .filter(|_| budget.allows(second * SECOND_NS, is_special))
            .count() as u64
    }

    #[test]
    fn a_second_has_room_for_so_many_and_no_more() {
        let mut budget = Budget::default();
        assert_eq!(
            told(&mut budget, 1, 2 * EVENTS_PER_SECOND, false),
            EVENTS_PER_SECOND
        );
        assert_eq!(told(&mut budget, 1, 1, true), 0);
        assert_eq!(told(&mut budget, 2, 1, false), 1);
    }

    #[test]
    fn those_with_a_payload_come_first() {
        let mut budget = Budget::default();
        assert_eq!(told(&mut budget, 1, 4_000, true), 4_000);
        assert_eq!(told(&mut budget, 2, 2 * EVENTS_PER_SECOND, false), 6_000);
        assert_eq!(told(&mut budget, 2, 5_000, true), 4_000);
    }
}
