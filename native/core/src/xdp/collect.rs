//! What is read from the kernel, tick by tick: flows once a second, interfaces once an interval.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use libbpf_rs::MapHandle;

use super::clock;
use super::flows::{FlowTracker, Now};
use super::interface::InterfaceTarget;
use super::ledger::{Ledgers, MALFORMED, PROTOCOL_NUMBERS, PROTOCOLS};
use super::live::LiveTables;
use super::records::{EGRESS, INGRESS, LedgerRecord};
use crate::clock::{monotonic_ns, unix_minus_monotonic_ns};
use crate::columns::{
    FlowColumns, InterfaceColumns, InterfaceRow, LedgerRow, ProtocolRow, Rates, TrafficRow,
    traffic_table,
};
use crate::error::Result;

const SCAN_INTERVAL: Duration = Duration::from_secs(1);

/// Names of directions.
const DIRECTIONS: [&str; 2] = ["ingress", "egress"];

/// What came since the last time, as columns.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub flow: Option<RecordBatch>,
    pub interface: Option<RecordBatch>,
    pub live_interfaces: Option<RecordBatch>,
    pub live: LiveTables,
    /// What is new by protocol, for metrics.
    pub network: Option<RecordBatch>,
    /// (place, count), only where something was lost.
    pub losses: Vec<(&'static str, u64)>,
    /// What the user has to know: one line each.
    pub notes: Vec<String>,
    /// (interface's number, packets that found the ring full)
    pub packets_lost: Vec<(u16, u64)>,
}

/// An interface that is, or was, traced.
#[derive(Debug)]
struct Watched {
    target: InterfaceTarget,
    /// By direction; `None`: that direction is not seen.
    modes: [Option<&'static str>; 2],
    told: [LedgerRecord; 2],
    /// As the last look for a terminal found them.
    looked_at: [LedgerRecord; 2],
    dropped: [Option<u64>; 2],
    since_ns: i64,
}

/// Reads the kernel's tables and keeps the columns until somebody takes them.
pub(crate) struct Collector {
    tracker: FlowTracker,
    ledgers: Ledgers,
    clock_program: libbpf_rs::Object,
    clock_map: MapHandle,
    interfaces: BTreeMap<u16, Watched>,
    /// Also of interfaces that are gone: their flows are still told.
    names: Vec<String>,
    sampling: u32,
    tracks_flows: bool,
    unflowed_told: u64,
    /// What the metrics were told already, by interface and direction.
    measured: BTreeMap<(u16, usize), LedgerRecord>,
    flow: FlowColumns,
    interface: InterfaceColumns,
    /// Somebody looks at a terminal.
    is_watched: bool,
    looked_ns: i64,
    live_interfaces: InterfaceColumns,
    live: LiveTables,
    losses: BTreeMap<&'static str, u64>,
    notes: Vec<String>,
    packets_lost: Vec<(u16, u64)>,
}

impl Collector {
    pub(crate) fn new(
        tracker: FlowTracker,
        ledgers: Ledgers,
        clock_program: libbpf_rs::Object,
        clock_map: MapHandle,
        sampling: u32,
        tracks_flows: bool,
        is_watched: bool,
    ) -> Self {
        Self {
            tracker,
            ledgers,
            clock_program,
            clock_map,
            interfaces: BTreeMap::new(),
            names: Vec::new(),
            sampling,
            tracks_flows,
            unflowed_told: 0,
            measured: BTreeMap::new(),
            flow: FlowColumns::new(),
            interface: InterfaceColumns::new(),
            is_watched,
            looked_ns: monotonic_ns().cast_signed(),
            live_interfaces: InterfaceColumns::new(),
            live: LiveTables::default(),
            losses: BTreeMap::new(),
            notes: Vec::new(),
            packets_lost: Vec::new(),
        }
    }

    /// Before an interface's programs run for the first time.
    pub(crate) fn begin(&self, number: u16, skips: &[u32]) {
        self.ledgers.begin(number, skips);
    }

    /// An interface is traced from now on.
    pub(crate) fn add(
        &mut self,
        number: u16,
        target: InterfaceTarget,
        modes: [Option<&'static str>; 2],
    ) {
        let at = usize::from(number);
        self.names
            .resize(self.names.len().max(at + 1), String::new());
        self.names[at].clone_from(&target.name);
        let dropped = target.counters().map(|counters| counters.dropped);
        let watched = Watched {
            modes,
            told: [INGRESS, EGRESS].map(|direction| self.ledgers.sum(number, direction)),
            looked_at: [INGRESS, EGRESS].map(|direction| self.ledgers.sum(number, direction)),
            dropped: [INGRESS, EGRESS].map(|direction| dropped.map(|counts| counts[direction])),
            since_ns: monotonic_ns().cast_signed(),
            target,
        };
        self.interfaces.insert(number, watched);
    }

    /// An interface is not traced any more: its last, partial interval is told.
    pub(crate) fn remove(&mut self, number: u16) {
        self.tell_interface(number);
        self.interfaces.remove(&number);
    }

    pub(crate) fn note(&mut self, line: String) {
        self.notes.push(line);
    }

    fn now(&self) -> Result<Now> {
        let program = super::load::program(&self.clock_program, super::load::READ_CLOCK)?;
        Ok(Now {
            ticks: clock::read(&std::os::fd::AsFd::as_fd(&program), &self.clock_map)?,
            now_ns: monotonic_ns().cast_signed(),
            unix_minus_monotonic_ns: unix_minus_monotonic_ns(),
        })
    }

    /// Looks at all flows.
    pub(crate) fn scan_flows(&mut self) -> Result<()> {
        let now = self.now()?;
        let was_full = self.count_unflowed();
        let names = &self.names;
        let name = |number: u16| names.get(usize::from(number)).map_or("", String::as_str);
        let live = self.tracker.scan(&now, was_full, &name, &mut self.flow);
        if let Some(live) = live {
            self.live = live;
        }
        if self.is_watched {
            self.look_at_interfaces();
        }
        Ok(())
    }

    /// Tells all flows that are left, and every interface's last interval.
    pub(crate) fn finish(&mut self) -> Result<()> {
        let now = self.now()?;
        self.count_unflowed();
        let names = &self.names;
        let name = |number: u16| names.get(usize::from(number)).map_or("", String::as_str);
        self.tracker.finish(&now, &name, &mut self.flow);
        self.tell_interfaces();
        Ok(())
    }

    /// Packets that found no room since the last time, as a loss.
    fn count_unflowed(&mut self) -> bool {
        if !self.tracks_flows {
            return false;
        }
        let numbers = 0..u16::try_from(self.names.len()).unwrap_or(0);
        let unflowed: u64 = numbers
            .flat_map(|number| [INGRESS, EGRESS].map(|direction| (number, direction)))
            .map(|(number, direction)| self.ledgers.sum(number, direction).unflowed.packets)
            .sum();
        let new = unflowed - self.unflowed_told;
        self.unflowed_told = unflowed;
        self.lose("flow_table_full", new * u64::from(self.sampling));
        new > 0
    }

    fn lose(&mut self, place: &'static str, count: u64) {
        if count > 0 {
            *self.losses.entry(place).or_default() += count;
        }
    }

    pub(crate) fn tell_interfaces(&mut self) {
        for number in self.interfaces.keys().copied().collect::<Vec<_>>() {
            self.tell_interface(number);
        }
    }

    fn tell_interface(&mut self, number: u16) {
        let Some(watched) = self.interfaces.get_mut(&number) else {
            return;
        };
        let now_ns = monotonic_ns().cast_signed();
        let interval_ns = now_ns - std::mem::replace(&mut watched.since_ns, now_ns);
        let started_ns = now_ns - interval_ns + unix_minus_monotonic_ns();
        let counters = watched.target.counters();
        let mut lost = [0; 2];
        for direction in [INGRESS, EGRESS] {
            let Some(mode) = watched.modes[direction] else {
                continue;
            };
            let sum = self.ledgers.sum(number, direction);
            let new = sum.since(&std::mem::replace(&mut watched.told[direction], sum));
            let dropped_now = counters.map(|counters| counters.dropped[direction]);
            let dropped_before = std::mem::replace(&mut watched.dropped[direction], dropped_now);
            let dropped = dropped_now
                .zip(dropped_before)
                .map(|(now, before)| now.saturating_sub(before));
            lost[0] += new.events_lost;
            lost[1] += new.events_capped;
            let figures = Figures {
                interface: &watched.target.name,
                direction,
                mode,
                started_ns,
                interval_ns,
                dropped,
                told: &new,
                new: &new,
                sampling: self.sampling,
            };
            figures.push_to(&mut self.interface);
        }
        if lost[0] > 0 {
            self.packets_lost.push((number, lost[0]));
        }
        self.lose("ring_full", lost[0]);
        self.lose("packet_events", lost[1]);
    }

    /// For who looks at a terminal: totals, and the rates of the time since the last look.
    fn look_at_interfaces(&mut self) {
        let now_ns = monotonic_ns().cast_signed();
        let interval_ns = now_ns - std::mem::replace(&mut self.looked_ns, now_ns);
        let started_ns = now_ns - interval_ns + unix_minus_monotonic_ns();
        for (&number, watched) in &mut self.interfaces {
            for direction in [INGRESS, EGRESS] {
                let Some(mode) = watched.modes[direction] else {
                    continue;
                };
                let sum = self.ledgers.sum(number, direction);
                let new = sum.since(&std::mem::replace(&mut watched.looked_at[direction], sum));
                let figures = Figures {
                    interface: &watched.target.name,
                    direction,
                    mode,
                    started_ns,
                    interval_ns,
                    dropped: None,
                    told: &sum,
                    new: &new,
                    sampling: self.sampling,
                };
                figures.push_to(&mut self.live_interfaces);
            }
        }
    }

    /// Packets and bytes since the last time.
    fn network(&mut self) -> Option<RecordBatch> {
        let scale = u64::from(self.sampling);
        let mut rows = Vec::new();
        for (number, name) in (0u16..).zip(&self.names) {
            for direction in [INGRESS, EGRESS] {
                let sum = self.ledgers.sum(number, direction);
                let before = self.measured.insert((number, direction), sum);
                let new = sum.since(&before.unwrap_or_default());
                let moved = PROTOCOL_NUMBERS.into_iter().zip(new.traffic);
                rows.extend(moved.filter(|(_, traffic)| traffic.packets > 0).map(
                    |(protocol, traffic)| TrafficRow {
                        interface: name,
                        direction: DIRECTIONS[direction],
                        protocol,
                        packets: traffic.packets * scale,
                        bytes: traffic.bytes * scale,
                    },
                ));
            }
        }
        traffic_table(&rows)
    }

    /// What came since the last time.
    pub(crate) fn take(&mut self) -> Collected {
        Collected {
            flow: self.flow.finish().unwrap_or_default(),
            interface: self.interface.finish().unwrap_or_default(),
            live_interfaces: self.live_interfaces.finish().unwrap_or_default(),
            live: std::mem::take(&mut self.live),
            network: self.network(),
            losses: std::mem::take(&mut self.losses).into_iter().collect(),
            notes: std::mem::take(&mut self.notes),
            packets_lost: std::mem::take(&mut self.packets_lost),
        }
    }

    /// Program runs since the start, and those that were left out by the filter.
    pub(crate) fn hits(&self) -> [(&'static str, u64); 2] {
        let mut runs = 0;
        let mut filtered = 0;
        for number in 0..u16::try_from(self.names.len()).unwrap_or(0) {
            for direction in [INGRESS, EGRESS] {
                let sum = self.ledgers.sum(number, direction);
                runs += sum.runs;
                filtered += sum.filtered;
            }
        }
        [("packets", runs), ("filtered", filtered)]
    }
}

/// What an interface's row is made of.
struct Figures<'a> {
    interface: &'a str,
    direction: usize,
    mode: &'a str,
    started_ns: i64,
    interval_ns: i64,
    dropped: Option<u64>,
    /// What is told.
    told: &'a LedgerRecord,
    /// What the rates are of: what is new in the interval.
    new: &'a LedgerRecord,
    sampling: u32,
}

impl Figures<'_> {
    fn rates(&self) -> Rates {
        let seconds = self.interval_ns.max(1) as f64 / 1e9;
        let per_second = f64::from(self.sampling) / seconds;
        let new = self.new.total();
        Rates {
            packets_per_second: new.packets as f64 * per_second,
            bits_per_second: new.bytes as f64 * 8.0 * per_second,
        }
    }

    fn push_to(&self, columns: &mut InterfaceColumns) {
        let scale = u64::from(self.sampling);
        let told = self.told;
        let malformed: Vec<(&str, u64)> = MALFORMED
            .into_iter()
            .zip(told.malformed)
            .filter(|&(_, count)| count > 0)
            .collect();
        let protocols: Vec<ProtocolRow<'_>> = PROTOCOLS
            .into_iter()
            .zip(told.traffic)
            .filter(|(_, traffic)| traffic.packets > 0)
            .map(|(protocol, traffic)| ProtocolRow {
                protocol,
                packets: traffic.packets * scale,
                bytes: traffic.bytes * scale,
            })
            .collect();
        columns.push(&InterfaceRow {
            timestamp_ns: self.started_ns,
            interval_ns: self.interval_ns,
            interface: self.interface,
            direction: DIRECTIONS[self.direction],
            mode: self.mode,
            packets: told.total().packets * scale,
            bytes: told.total().bytes * scale,
            rates: self.rates(),
            dropped: self.dropped,
            ledger: LedgerRow {
                runs: told.runs,
                flows: told.flows,
                filtered: told.filtered,
                sampled_out: told.sampled_out,
                not_ip: told.not_ip,
                malformed: told.malformed_total(),
                other: told.other,
            },
            malformed: &malformed,
            protocols: &protocols,
        });
    }
}

/// What the collecting thread and the reader of columns share.
pub(crate) struct Shared {
    collector: Mutex<Collector>,
    stop: Mutex<bool>,
    stopped: Condvar,
}

impl Shared {
    pub(crate) fn new(collector: Collector) -> Arc<Self> {
        Arc::new(Self {
            collector: Mutex::new(collector),
            stop: Mutex::new(false),
            stopped: Condvar::new(),
        })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Collector> {
        self.collector
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn request_stop(&self) {
        *self.stop.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stopped.notify_all();
    }

    /// Sleeps; true once the end was asked for.
    pub(crate) fn wait(&self, time: Duration) -> bool {
        let stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner);
        *self
            .stopped
            .wait_timeout_while(stop, time, |stop| !*stop)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }
}

/// Runs until [`Shared::request_stop`]. The last look is the session's, once nothing is attached any more.
pub(crate) fn run(shared: &Arc<Shared>, interval: Duration) -> Result<()> {
    let mut scan_at = Instant::now() + SCAN_INTERVAL;
    let mut tell_at = Instant::now() + interval;
    loop {
        let next = scan_at.min(tell_at);
        if shared.wait(next.saturating_duration_since(Instant::now())) {
            return Ok(());
        }
        let now = Instant::now();
        if now >= scan_at {
            scan_at = now + SCAN_INTERVAL;
            shared.lock().scan_flows()?;
        }
        if now >= tell_at {
            tell_at += interval;
            shared.lock().tell_interfaces();
        }
    }
}
