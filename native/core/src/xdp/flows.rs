//! From entries of the kernel's table to `flow` events: who ends, and why.
//!
//! Once a second every entry is looked at. One that is over is marked first, so that no packet finds it any more;
//! after a grace period its counts are final, it is told once and given back.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::clock::TickClock;
use super::live::{LiveRates, LiveTables};
use super::owners::Owners;
use super::records::{
    EGRESS, FIN_ANSWERED, FlowEntry, FlowKey, INGRESS, InnerFlow, VLAN_TAGGED, tcp_flag,
};
use super::table::{FlowTable, Slot, wait_for_programs};
use crate::clock;
use crate::columns::{FlowColumns, FlowKeyRow, FlowRow, FlowTcpRow, IcmpRow, InnerRow};

const SECOND_NS: i64 = 1_000_000_000;
/// How long a closed conversation stays: segments that come late still belong to it.
const LINGER_NS: i64 = SECOND_NS;
/// A conversation is told in between this often.
const REPORT_NS: i64 = 60 * SECOND_NS;
/// When the table is full, whoever was silent for this long may have to go.
const EVICTABLE_NS: i64 = SECOND_NS;

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const TCP: u8 = 6;
const WITH_PORTS: [u8; 4] = [TCP, 17, 132, 136];

/// How a flow ended, or why it is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Active,
    Fin,
    Reset,
    Idle,
    Evicted,
    Shutdown,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Fin => "fin",
            Self::Reset => "rst",
            Self::Idle => "idle",
            Self::Evicted => "evicted",
            Self::Shutdown => "shutdown",
        }
    }
}

/// What is the same for all flows of a scan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// CLOCK_MONOTONIC.
    pub(crate) now_ns: i64,
    pub(crate) unix_minus_monotonic_ns: i64,
    pub(crate) ticks: TickClock,
}

impl Now {
    fn unix_ns(&self, jiffies: u64) -> i64 {
        self.ticks.monotonic_ns(jiffies) + self.unix_minus_monotonic_ns
    }

    fn silence_ns(&self, entry: &FlowEntry) -> i64 {
        let last = entry.half[INGRESS]
            .last_jiffies
            .max(entry.half[EGRESS].last_jiffies);
        self.now_ns - self.ticks.monotonic_ns(last)
    }
}

/// Names of interfaces by their numbers.
pub(crate) type InterfaceNames<'a> = &'a dyn Fn(u16) -> &'a str;

/// Follows all entries of the table.
#[derive(Debug)]
pub(crate) struct FlowTracker {
    table: FlowTable,
    timeout_ns: i64,
    capacity: u64,
    sampling: u32,
    /// Flows of targets' sockets only.
    only_wanted: bool,
    /// When an entry is told in between, by slot; 0: it was never seen.
    reports_ns: Vec<i64>,
    owners: Owners,
    /// Where somebody looks at a terminal.
    live: Option<LiveRates>,
    /// What a text column needs, kept to save allocations.
    text: FlowText,
}

impl FlowTracker {
    pub(crate) fn new(
        table: FlowTable,
        owners: Owners,
        timeout: Duration,
        capacity: u32,
        sampling: u32,
        only_wanted: bool,
        is_watched: bool,
    ) -> Self {
        let slots = table.slots();
        let now_ns = clock::monotonic_ns().cast_signed();
        Self {
            table,
            timeout_ns: i64::try_from(timeout.as_nanos()).unwrap_or(i64::MAX),
            capacity: capacity.into(),
            sampling,
            only_wanted,
            reports_ns: vec![0; slots],
            owners,
            live: is_watched.then(|| LiveRates::new(slots, now_ns)),
            text: FlowText::default(),
        }
    }

    /// Looks at every entry: tells those that ended and those whose minute is over. `was_full`: packets found no room.
    /// Returns the rates since the last time, where somebody looks at them.
    pub(crate) fn scan(
        &mut self,
        now: &Now,
        was_full: bool,
        names: InterfaceNames<'_>,
        columns: &mut FlowColumns,
    ) -> Option<LiveTables> {
        let mut ending: Vec<(Slot, State)> = Vec::new();
        let mut due: Vec<Slot> = Vec::new();
        let mut silent: Vec<(i64, Slot)> = Vec::new();
        self.table.for_each(|slot, is_over| {
            let entry = self.table.entry(slot);
            let silence_ns = now.silence_ns(&entry);
            if let Some(live) = &mut self.live {
                live.look(slot, &entry);
            }
            if let Some(state) = ended(&entry, is_over, silence_ns, self.timeout_ns) {
                ending.push((slot, state));
                return;
            }
            let report_ns = &mut self.reports_ns[slot];
            if *report_ns == 0 {
                *report_ns = now.now_ns + REPORT_NS;
            } else if *report_ns <= now.now_ns {
                *report_ns = now.now_ns + REPORT_NS;
                due.push(slot);
            }
            if was_full && silence_ns >= EVICTABLE_NS {
                silent.push((silence_ns, slot));
            }
        });
        let table = &self.table;
        let live = self
            .live
            .as_mut()
            .map(|live| live.tell(now.now_ns, self.sampling, names, |slot| table.entry(slot)));
        for slot in due {
            let entry = self.table.entry(slot);
            self.tell(&entry, State::Active, now, names, columns);
        }
        ending.extend(self.to_evict(silent));
        self.end(&ending, now, names, columns);
        live
    }

    /// Tells everything that is left.
    pub(crate) fn finish(
        &mut self,
        now: &Now,
        names: InterfaceNames<'_>,
        columns: &mut FlowColumns,
    ) {
        let mut ending = Vec::new();
        self.table.for_each(|slot, is_over| {
            let entry = self.table.entry(slot);
            let state = closed(&entry).unwrap_or(if is_over {
                State::Idle
            } else {
                State::Shutdown
            });
            ending.push((slot, state));
        });
        self.end(&ending, now, names, columns);
    }

    /// Those that were silent for longest, until an eighth of the table is free.
    fn to_evict(&self, mut silent: Vec<(i64, Slot)>) -> Vec<(Slot, State)> {
        let free = self.capacity.saturating_sub(self.table.used());
        let wanted = usize::try_from((self.capacity / 8).max(1).saturating_sub(free)).unwrap_or(0);
        silent.sort_unstable_by_key(|&(silence_ns, slot)| (std::cmp::Reverse(silence_ns), slot));
        let chosen = silent.into_iter().take(wanted);
        chosen.map(|(_, slot)| (slot, State::Evicted)).collect()
    }

    fn end(
        &mut self,
        ending: &[(Slot, State)],
        now: &Now,
        names: InterfaceNames<'_>,
        columns: &mut FlowColumns,
    ) {
        if ending.is_empty() {
            return;
        }
        for &(slot, _) in ending {
            self.table.mark_over(slot);
        }
        wait_for_programs();
        for &(slot, state) in ending {
            let entry = self.table.entry(slot);
            self.tell(&entry, state, now, names, columns);
            let directions = entry.half.iter().filter(|half| half.last_jiffies > 0);
            self.table.free(slot, directions.count() as u64);
            self.reports_ns[slot] = 0;
            if let Some(live) = &mut self.live {
                live.forget(slot);
            }
        }
    }

    fn tell(
        &mut self,
        entry: &FlowEntry,
        state: State,
        now: &Now,
        names: InterfaceNames<'_>,
        columns: &mut FlowColumns,
    ) {
        let interface = names(entry.key.interface);
        let owner = self.owners.of(entry);
        if self.only_wanted && owner.wanted == 0 {
            return; // whose it was is known only now
        }
        let comm = self.owners.name(owner.pid);
        for direction in [INGRESS, EGRESS] {
            if entry.half[direction].buffers > 0 {
                self.text.set(&entry.key, &entry.inner, direction);
                let row = row(
                    entry,
                    direction,
                    state,
                    now,
                    interface,
                    self.sampling,
                    &self.text,
                );
                columns.push(&FlowRow {
                    pid: (owner.pid > 0).then_some(owner.pid),
                    comm: comm.filter(|_| owner.pid > 0),
                    ..row
                });
            }
        }
    }
}

/// Whether TCP has closed the conversation.
fn closed(entry: &FlowEntry) -> Option<State> {
    let halves = &entry.half;
    if entry.key.protocol != TCP {
        return None;
    }
    if halves
        .iter()
        .any(|half| half.tcp_flags & tcp_flag::RST != 0)
    {
        return Some(State::Reset);
    }
    let all_answered = halves.iter().all(|half| half.watch & FIN_ANSWERED != 0);
    all_answered.then_some(State::Fin)
}

fn ended(entry: &FlowEntry, is_over: bool, silence_ns: i64, timeout_ns: i64) -> Option<State> {
    if is_over {
        // a new connection has taken the key over
        return Some(closed(entry).unwrap_or(State::Fin));
    }
    match closed(entry) {
        Some(state) if silence_ns >= LINGER_NS => Some(state),
        _ if silence_ns >= timeout_ns => Some(State::Idle),
        _ => None,
    }
}

fn row<'a>(
    entry: &FlowEntry,
    direction: usize,
    state: State,
    now: &Now,
    interface: &'a str,
    sampling: u32,
    text: &'a FlowText,
) -> FlowRow<'a> {
    let half = &entry.half[direction];
    let scale = u64::from(sampling);
    let exact = sampling <= 1;
    FlowRow {
        pid: None,
        comm: None,
        key: text.row(&entry.key, &entry.inner, direction, icmp(entry, direction)),
        interface,
        direction: if direction == INGRESS {
            "ingress"
        } else {
            "egress"
        },
        packets: (half.buffers + half.merged) * scale,
        bytes: half.bytes * scale,
        buffers: half.buffers * scale,
        first_seen_ns: now.unix_ns(entry.first_jiffies[direction]),
        last_seen_ns: now.unix_ns(half.last_jiffies),
        tcp: (entry.key.protocol == TCP).then(|| FlowTcpRow {
            flags: half.tcp_flags,
            rtt_us: (half.rtt_us > 0).then_some(half.rtt_us),
            retransmits: exact.then(|| half.retransmits.into()),
            out_of_order: exact.then(|| entry.out_of_order[direction].into()),
            zero_window: u64::from(entry.zero_window[direction]) * scale,
        }),
        http_requests: u64::from(half.http_requests) * scale,
        http_responses: u64::from(half.http_responses) * scale,
        conversation: &text.conversation,
        state: state.name(),
        sampling,
    }
}

fn icmp(entry: &FlowEntry, direction: usize) -> Option<IcmpRow> {
    let half = &entry.half[direction];
    [ICMP, ICMPV6]
        .contains(&entry.key.protocol)
        .then_some(IcmpRow {
            kind: half.icmp_type,
            code: half.icmp_code,
        })
}

/// A key's texts.
#[derive(Debug, Default)]
pub(crate) struct FlowText {
    source: String,
    destination: String,
    inner_source: String,
    inner_destination: String,
    pub(crate) conversation: String,
}

impl FlowText {
    pub(crate) fn set(&mut self, key: &FlowKey, inner: &InnerFlow, direction: usize) {
        let (source, destination) = oriented(direction, &key.remote, &key.local);
        write_address(&mut self.source, key.family, source);
        write_address(&mut self.destination, key.family, destination);
        let (source, destination) = oriented(direction, &inner.remote, &inner.local);
        write_address(&mut self.inner_source, inner.family, source);
        write_address(&mut self.inner_destination, inner.family, destination);
        self.conversation.clear();
        let _ = std::fmt::Write::write_fmt(
            &mut self.conversation,
            format_args!("{:016x}", conversation(key, inner)),
        );
    }

    pub(crate) fn row<'a>(
        &'a self,
        key: &FlowKey,
        inner: &InnerFlow,
        direction: usize,
        icmp: Option<IcmpRow>,
    ) -> FlowKeyRow<'a> {
        FlowKeyRow {
            source: &self.source,
            destination: &self.destination,
            ports: ports(direction, key.protocol, key.remote_port, key.local_port),
            protocol: key.protocol,
            vlan: tag(key.vlan),
            inner_vlan: tag(key.inner_vlan),
            icmp,
            inner: tunnel_name(inner.tunnel).map(|tunnel| InnerRow {
                tunnel,
                id: (tunnel != "ipip").then_some(key.tunnel_id),
                addresses: (inner.family > 0)
                    .then_some((&self.inner_source[..], &self.inner_destination[..])),
                ports: ports(
                    direction,
                    inner.protocol,
                    inner.remote_port,
                    inner.local_port,
                ),
                protocol: (inner.family > 0).then_some(inner.protocol),
            }),
        }
    }
}

/// (source, destination) of what an interface received or sent.
fn oriented<T>(direction: usize, remote: T, local: T) -> (T, T) {
    if direction == INGRESS {
        (remote, local)
    } else {
        (local, remote)
    }
}

fn ports(direction: usize, protocol: u8, remote: [u8; 2], local: [u8; 2]) -> Option<(u16, u16)> {
    let ports = oriented(
        direction,
        u16::from_be_bytes(remote),
        u16::from_be_bytes(local),
    );
    // a later fragment whose first one was not seen has none
    (WITH_PORTS.contains(&protocol) && ports != (0, 0)).then_some(ports)
}

fn tag(tag: u16) -> Option<u16> {
    (tag & VLAN_TAGGED != 0).then_some(tag & 0xfff)
}

fn tunnel_name(tunnel: u8) -> Option<&'static str> {
    match tunnel {
        1 => Some("vxlan"),
        2 => Some("geneve"),
        3 => Some("gre"),
        4 => Some("ipip"),
        _ => None,
    }
}

pub(crate) fn address(family: u8, bytes: &[u8; 16]) -> IpAddr {
    if family == 6 {
        return Ipv6Addr::from(*bytes).into();
    }
    Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into()
}

fn write_address(text: &mut String, family: u8, bytes: &[u8; 16]) {
    text.clear();
    if family > 0 {
        let _ = std::fmt::Write::write_fmt(text, format_args!("{}", address(family, bytes)));
    }
}

/// The same number for both directions, at every interface.
pub(crate) fn conversation(key: &FlowKey, inner: &InnerFlow) -> u64 {
    let mut ends = [(key.remote, key.remote_port), (key.local, key.local_port)];
    ends.sort_unstable();
    let mut inner_ends = [
        (inner.remote, inner.remote_port),
        (inner.local, inner.local_port),
    ];
    inner_ends.sort_unstable();
    let mut hash = Fnv::new();
    for (address, port) in ends.iter().chain(&inner_ends) {
        hash.add(address);
        hash.add(port);
    }
    hash.add(&[key.protocol, key.family, inner.protocol, inner.tunnel]);
    hash.add(&key.vlan.to_be_bytes());
    hash.add(&key.inner_vlan.to_be_bytes());
    hash.add(&key.tunnel_id.to_be_bytes());
    hash.finish()
}

/// A hash that is the same in every run and on every machine, so that recordings can be joined.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(self) -> u64 {
        self.0 ^ self.0 >> 29
    }
}
