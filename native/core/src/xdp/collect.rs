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
use super::records::{EGRESS, INGRESS, LedgerRecord};
use crate::clock::{monotonic_ns, unix_minus_monotonic_ns};
use crate::columns::{
    FlowColumns, InterfaceColumns, InterfaceRow, LedgerRow, ProtocolRow, TrafficRow, traffic_table,
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
        self.tracker.scan(&now, was_full, &name, &mut self.flow);
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
            push_row(
                &mut self.interface,
                &watched.target.name,
                direction,
                mode,
                (started_ns, interval_ns),
                dropped,
                &new,
                self.sampling,
            );
        }
        if lost[0] > 0 {
            self.packets_lost.push((number, lost[0]));
        }
        self.lose("ring_full", lost[0]);
        self.lose("packet_events", lost[1]);
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
        traffic_table(&rows).unwrap_or_default()
    }

    /// What came since the last time.
    pub(crate) fn take(&mut self) -> Collected {
        Collected {
            flow: self.flow.finish().unwrap_or_default(),
            interface: self.interface.finish().unwrap_or_default(),
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

#[expect(
    clippy::too_many_arguments,
    reason = "one row's parts, gathered in one place"
)]
fn push_row(
    columns: &mut InterfaceColumns,
    interface: &str,
    direction: usize,
    mode: &str,
    (timestamp_ns, interval_ns): (i64, i64),
    dropped: Option<u64>,
    new: &LedgerRecord,
    sampling: u32,
) {
    let scale = u64::from(sampling);
    let malformed: Vec<(&str, u64)> = MALFORMED
        .into_iter()
        .zip(new.malformed)
        .filter(|&(_, count)| count > 0)
        .collect();
    let protocols: Vec<ProtocolRow<'_>> = PROTOCOLS
        .into_iter()
        .zip(new.traffic)
        .filter(|(_, traffic)| traffic.packets > 0)
        .map(|(protocol, traffic)| ProtocolRow {
            protocol,
            packets: traffic.packets * scale,
            bytes: traffic.bytes * scale,
        })
        .collect();
    columns.push(&InterfaceRow {
        timestamp_ns,
        interval_ns,
        interface,
        direction: DIRECTIONS[direction],
        mode,
        packets: new.total().packets * scale,
        bytes: new.total().bytes * scale,
        dropped,
        ledger: LedgerRow {
            runs: new.runs,
            flows: new.flows,
            filtered: new.filtered,
            sampled_out: new.sampled_out,
            not_ip: new.not_ip,
            malformed: new.malformed_total(),
            other: new.other,
        },
        malformed: &malformed,
        protocols: &protocols,
    });
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
