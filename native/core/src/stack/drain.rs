//! Two threads: one empties the ring and counts equal stacks, the other one names them.
//!
//! Names may take long (a program's whole debug information is read for the first of them). The ring does not wait
//! for that, and a process that is about to end does not either.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use libbpf_rs::{MapCore, MapFlags, MapHandle};

use super::collect::{Collector, Interval, Learnt, Stack};
use super::on_demand::{Captured, SampleRing};
use super::record::{SampleRecord, Taken};
use super::report::Reporter;
use super::rests::Rests;
use super::shared::{Ready, Shared};
use super::sideband::Sideband;
use crate::calls::collect::CallCollector;
use crate::calls::pair::CallRow;
use crate::calls::record::{Event, TakenCall};
use crate::calls::report::CallReporter;
use crate::clock;
use crate::decode::TextMask;
use crate::error::{Error, ErrorKind, Result};
use crate::ring::{self, open_rings};
use crate::unwind::tables::Tables;

/// Intervals that may wait for their names; beyond it they grow instead.
const INTERVALS_WAITING: usize = 2;
const RECORDS_AT_ONCE: usize = 1024;
/// How often calls are told.
const CALLS_EVERY: Duration = Duration::from_millis(200);
/// Calls that are told at once, and at most.
const CALLS_AT_MOST: usize = 50_000;
/// How long a start waits for the unwind tables of processes that run already.
const TABLES_PATIENCE: Duration = Duration::from_secs(3);

/// The kernel's side of what is known of processes.
pub(crate) struct KernelTables {
    pub(crate) ring: MapHandle,
    pub(crate) calls: MapHandle,
    pub(crate) known: MapHandle,
    pub(crate) unwind: Tables,
}

impl KernelTables {
    /// Says that the process's mappings are known, so that its next sample wakes nobody. One that finds no room in
    /// the table costs wake-ups and nothing else.
    fn tell(&mut self, learnt: &Learnt) {
        let Some(image) = &learnt.image else {
            return;
        };
        if learnt.is_gone {
            self.unwind.introduce_all(image);
        } else {
            self.unwind.give(image);
            let _ = self
                .known
                .update(&learnt.pid.to_ne_bytes(), &[1], MapFlags::ANY);
        }
    }
}

/// When to report.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) period_ns: u64,
    pub(crate) interval: Duration,
    pub(crate) stacks_held: usize,
    /// On demand: how long samples are held.
    pub(crate) keep: Option<Duration>,
    /// User frames per stack.
    pub(crate) max_depth: usize,
}

/// What the first thread gives to the second.
enum Work {
    Stacks(Interval),
    Capture(Captured),
    Calls(Vec<CallRow>),
}

/// The two threads; both end after [`Shared::request_stop`].
pub(crate) struct Threads {
    drain: JoinHandle<Result<()>>,
    names: JoinHandle<()>,
}

impl Threads {
    /// Looks at `first_pids` before it returns: their first sample is as good as all others.
    pub(crate) fn start(
        shared: &Arc<Shared>,
        mut tables: KernelTables,
        pace: Pace,
        calls: CallReporter,
        mask: TextMask,
        first_pids: Vec<u32>,
    ) -> Result<Self> {
        let now_ns = clock::monotonic_ns();
        let mut collector = Collector::new(pace.period_ns, now_ns, Sideband::open());
        for pid in first_pids {
            tables.tell(&collector.look_at(pid, now_ns));
        }
        collector.ring = pace
            .keep
            .map(|keep| SampleRing::new(keep, pace.period_ns, pace.stacks_held));
        tables.unwind.settle(TABLES_PATIENCE);
        let (to_names, from_drain) = sync_channel(INTERVALS_WAITING);
        let for_names = Arc::clone(shared);
        let drain = Drain {
            shared: Arc::clone(shared),
            tables,
            pace,
            collector,
            rests: Rests::new(pace.max_depth),
            calls: CallCollector::new(calls.clone(), mask),
            captured: VecDeque::new(),
            to_names,
        };
        Ok(Self {
            drain: spawn("ut-stacks", move || drain.run())?,
            names: spawn("ut-names", move || {
                name_all(&for_names, &calls, &from_drain);
            })?,
        })
    }

    pub(crate) fn join(self) -> Result<()> {
        let crashed = |_| Err(failed("the sampler stopped unexpectedly", &"a bug"));
        let drained = self.drain.join().unwrap_or_else(crashed);
        let named = self.names.join().map_or_else(crashed, Ok);
        drained.and(named)
    }
}

fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map_err(|error| failed("cannot start a thread", &error))
}

fn failed(what: &str, cause: &impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Failed, what, cause, "run again with -v")
}

/// The first thread.
struct Drain {
    shared: Arc<Shared>,
    tables: KernelTables,
    pace: Pace,
    collector: Collector,
    rests: Rests,
    calls: CallCollector,
    /// Captures for which the other thread has had no time yet.
    captured: VecDeque<Captured>,
    to_names: SyncSender<Work>,
}

impl Drain {
    fn run(mut self) -> Result<()> {
        let samples: Rc<RefCell<Vec<SampleRecord>>> = Rc::default();
        let calls: Rc<RefCell<Vec<TakenCall>>> = Rc::default();
        let (keep_samples, keep_calls) = (Rc::clone(&samples), Rc::clone(&calls));
        let ring = open_rings(vec![
            (
                &self.tables.ring,
                Box::new(move |record| {
                    keep_samples
                        .borrow_mut()
                        .extend(SampleRecord::parse(record))
                }),
            ),
            (
                &self.tables.calls,
                Box::new(move |record| keep_calls.borrow_mut().extend(TakenCall::parse(record))),
            ),
        ])?;
        let mut due = Due::new(self.pace);
        loop {
            // read first: what was in the ring before the stop is taken after it
            let is_last = self.shared.must_stop();
            let now_ns = clock::monotonic_ns();
            // also where nothing is sampled: who is heard of late may not be heard of at all
            self.collector.hear();
            while ring.consume_raw_n(RECORDS_AT_ONCE) > 0 {
                self.take(&mut samples.borrow_mut(), &mut calls.borrow_mut());
            }
            self.finish_walks(is_last);
            self.shared.count(self.collector.samples, self.calls.taken);
            if is_last {
                // nobody is left to hear of an error here
                let _ = self.to_names.send(Work::Calls(self.calls.take()));
                let _ = self
                    .to_names
                    .send(Work::Stacks(self.collector.take(now_ns)));
                self.complete_captures(now_ns, true);
                for captured in self.captured.drain(..) {
                    let _ = self.to_names.send(Work::Capture(captured));
                }
                return Ok(());
            }
            self.forget();
            if due.calls(self.calls.waiting()) {
                self.hand_over_calls();
            }
            if self.collector.ring.is_some() {
                self.hand_over_captures(now_ns);
            } else if due.stacks(self.collector.distinct()) {
                self.hand_over_stacks(now_ns);
            }
            ring::wait_for_records(&ring);
        }
    }

    fn take(&mut self, samples: &mut Vec<SampleRecord>, calls: &mut Vec<TakenCall>) {
        self.collector.hear();
        for record in samples.drain(..) {
            match record {
                SampleRecord::Sample(taken) => self.take_sample(taken),
                SampleRecord::Rest(rest) => self.rests.came(rest),
            }
        }
        for taken in calls.drain(..) {
            if let Some(learnt) = self.calls.add(taken, &mut self.collector) {
                self.tables.tell(&learnt);
            }
        }
        if self.calls.waiting() >= CALLS_AT_MOST {
            self.hand_over_calls();
        }
    }

    fn take_sample(&mut self, taken: Taken) {
        let rest = self.rests.of(&taken);
        if let Some(learnt) = self.collector.learn(&taken) {
            self.tables.tell(&learnt);
        }
        match rest.zip(self.collector.image(taken.head.pid)) {
            Some((rest, image)) => self.rests.wait(taken, rest, image),
            None => self.collector.count(&taken),
        }
    }

    /// Goes on with walks whose tables are there; at the end with all, after waiting for tables a last time.
    fn finish_walks(&mut self, is_last: bool) {
        if self.rests.is_empty() {
            return;
        }
        if is_last {
            self.tables.unwind.settle(TABLES_PATIENCE);
        }
        for taken in self.rests.finished(&self.tables.unwind, is_last) {
            self.collector.count(&taken);
        }
    }

    fn forget(&mut self) {
        let gone = self.collector.forget();
        self.calls.forget(&gone);
        for pid in gone {
            self.tables.unwind.forget(pid);
        }
    }

    /// Gives the interval away; one that finds no room goes on and is told with the next.
    fn hand_over_stacks(&mut self, now_ns: u64) {
        let work = Work::Stacks(self.collector.take(now_ns));
        if let Err(
            TrySendError::Full(Work::Stacks(interval))
            | TrySendError::Disconnected(Work::Stacks(interval)),
        ) = self.to_names.try_send(work)
        {
            self.collector.put_back(interval);
        }
    }

    /// On demand: gives the captures away whose windows are over; those that find no room wait.
    fn hand_over_captures(&mut self, now_ns: u64) {
        self.complete_captures(now_ns, false);
        self.shared.put(|_| (), Some(now_ns));
        while let Some(captured) = self.captured.pop_front() {
            if let Err(TrySendError::Full(Work::Capture(captured))) =
                self.to_names.try_send(Work::Capture(captured))
            {
                self.captured.push_front(captured);
                return;
            }
        }
    }

    fn complete_captures(&mut self, now_ns: u64, is_last: bool) {
        let Some(ring) = &mut self.collector.ring else {
            return;
        };
        for request in self.shared.take_requests() {
            ring.ask(request);
        }
        for captured in ring.complete(now_ns, is_last) {
            self.shared.give_up(captured.given_up);
            self.captured.push_back(captured);
        }
    }

    /// Likewise; where too many wait already, the ring has to, and what it cannot hold is counted as lost.
    fn hand_over_calls(&mut self) {
        let calls = self.calls.take();
        if calls.len() >= CALLS_AT_MOST {
            // fails when the other thread has ended: its error is told when it is joined
            let _ = self.to_names.send(Work::Calls(calls));
            return;
        }
        if let Err(
            TrySendError::Full(Work::Calls(calls)) | TrySendError::Disconnected(Work::Calls(calls)),
        ) = self.to_names.try_send(Work::Calls(calls))
        {
            self.calls.put_back(calls);
        }
    }
}

/// When something has to be handed over.
struct Due {
    pace: Pace,
    stacks: Instant,
    calls: Instant,
}

impl Due {
    fn new(pace: Pace) -> Self {
        let now = Instant::now();
        Self {
            pace,
            stacks: now + pace.interval,
            calls: now + CALLS_EVERY,
        }
    }

    fn stacks(&mut self, distinct: usize) -> bool {
        let is_due = Instant::now() >= self.stacks || distinct >= self.pace.stacks_held;
        if is_due {
            self.stacks = Instant::now() + self.pace.interval;
        }
        is_due
    }

    fn calls(&mut self, waiting: usize) -> bool {
        let is_due = waiting > 0 && Instant::now() >= self.calls;
        if is_due {
            self.calls = Instant::now() + CALLS_EVERY;
        }
        is_due
    }
}

fn name_all(shared: &Shared, calls: &CallReporter, from_drain: &Receiver<Work>) {
    let mut reporter = Reporter::default();
    while let Ok(work) = from_drain.recv() {
        let unix_offset_ns = clock::unix_minus_monotonic_ns();
        match work {
            Work::Stacks(interval) => {
                reporter.prepare(interval.stacks.keys().map(|stack| &**stack));
                let write = |ready: &mut Ready| {
                    reporter.report(&interval, unix_offset_ns, None, &mut ready.profile);
                };
                shared.put(write, Some(interval.end_ns));
            }
            Work::Capture(captured) => name_capture(shared, &mut reporter, &captured),
            Work::Calls(rows) => {
                shared.wait_for_room();
                reporter.prepare(stacks_of(&rows));
                let write = |ready: &mut Ready| {
                    for row in &rows {
                        calls.push(unix_offset_ns, row, &reporter, &mut ready.functions);
                    }
                };
                shared.put(write, None);
            }
        }
    }
}

/// The processes may have gone by now: their mappings were read when they were sampled.
fn name_capture(shared: &Shared, reporter: &mut Reporter, captured: &Captured) {
    let stacks = captured.parts.iter().flat_map(|part| part.stacks.keys());
    reporter.prepare(stacks.map(|stack| &**stack));
    let request = &captured.request;
    let write = |ready: &mut Ready| {
        let number = Some(request.number);
        for part in &captured.parts {
            reporter.report(part, request.unix_offset_ns, number, &mut ready.profile);
        }
        shared.count_capture();
    };
    shared.put(write, None);
}

/// The stacks of entries; exits have those of theirs.
fn stacks_of(rows: &[CallRow]) -> impl Iterator<Item = &Stack> + Clone {
    rows.iter()
        .filter(|row| row.event == Event::Entry)
        .filter_map(|row| Some(&*row.entered.as_ref()?.stack))
}
