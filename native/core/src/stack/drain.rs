//! Two threads: one empties the ring and counts equal stacks, the other one names them.
//!
//! Names may take long (a program's whole debug information is read for the first of them). The ring does not wait
//! for that, and a process that is about to end does not either.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use libbpf_rs::{MapCore, MapFlags, MapHandle};

use super::collect::{Collector, Interval, Learnt};
use super::record::Taken;
use super::report::Reporter;
use crate::clock;
use crate::columns::ProfileColumns;
use crate::error::{Error, ErrorKind, Result};
use crate::ring::{self, open_ring};
use crate::unwind::tables::Tables;

/// Intervals that may wait for their names; beyond it they grow instead.
const INTERVALS_WAITING: usize = 2;
const RECORDS_AT_ONCE: usize = 1024;
/// How long a start waits for the unwind tables of processes that run already.
const TABLES_PATIENCE: Duration = Duration::from_secs(3);

/// What the threads and the reader of columns share.
#[derive(Default)]
pub(crate) struct Shared {
    ready: Mutex<ProfileColumns>,
    progress: Condvar,
    stop: AtomicBool,
    /// Everything before this CLOCK_MONOTONIC time has been told.
    complete_ns: AtomicU64,
    samples: AtomicU64,
}

impl Shared {
    pub(crate) fn samples(&self) -> u64 {
        self.samples.load(Ordering::Relaxed)
    }

    pub(crate) fn complete_ns(&self) -> u64 {
        self.complete_ns.load(Ordering::Acquire)
    }

    pub(crate) fn request_stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Waits up to `wait` for a report, less when there is one.
    pub(crate) fn take(&self, wait: Duration) -> Option<RecordBatch> {
        let ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        let is_idle =
            |ready: &mut ProfileColumns| ready.rows() == 0 && !self.stop.load(Ordering::Acquire);
        let (mut ready, _) = self
            .progress
            .wait_timeout_while(ready, wait, is_idle)
            .unwrap_or_else(PoisonError::into_inner);
        ready.finish().ok().flatten()
    }

    fn put(&self, write: impl FnOnce(&mut ProfileColumns), complete_ns: u64) {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        write(&mut ready);
        self.complete_ns.store(complete_ns, Ordering::Release);
        drop(ready);
        self.progress.notify_all();
    }
}

/// The kernel's side of what is known of processes.
pub(crate) struct KernelTables {
    pub(crate) ring: MapHandle,
    pub(crate) known: MapHandle,
    pub(crate) unwind: Tables,
}

impl KernelTables {
    /// Says that the process's mappings are known, so that its next sample wakes nobody. One that finds no room in
    /// the table costs wake-ups and nothing else.
    fn tell(&mut self, learnt: &Learnt) {
        if let Some(image) = &learnt.image {
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
        first_pids: Vec<u32>,
    ) -> Result<Self> {
        let mut collector = Collector::new(pace.period_ns, clock::monotonic_ns());
        for pid in first_pids {
            tables.tell(&collector.look_at(pid));
        }
        tables.unwind.settle(TABLES_PATIENCE);
        let (to_names, from_drain) = sync_channel(INTERVALS_WAITING);
        let for_drain = Arc::clone(shared);
        let for_names = Arc::clone(shared);
        Ok(Self {
            drain: spawn("ut-stacks", move || {
                drain(&for_drain, &mut tables, pace, collector, &to_names)
            })?,
            names: spawn("ut-names", move || name_all(&for_names, &from_drain))?,
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

fn drain(
    shared: &Shared,
    tables: &mut KernelTables,
    pace: Pace,
    mut collector: Collector,
    to_names: &SyncSender<Interval>,
) -> Result<()> {
    let waiting: Rc<RefCell<Vec<Taken>>> = Rc::default();
    let keep = Rc::clone(&waiting);
    let ring = open_ring(&tables.ring, move |record| {
        keep.borrow_mut().extend(Taken::parse(record));
    })?;
    let mut due = Instant::now() + pace.interval;
    loop {
        // read first: what was in the ring before the stop is taken after it
        let is_last = shared.stop.load(Ordering::Acquire);
        let now_ns = clock::monotonic_ns();
        while ring.consume_raw_n(RECORDS_AT_ONCE) > 0 {
            for taken in waiting.borrow_mut().drain(..) {
                if let Some(learnt) = collector.add(taken) {
                    tables.tell(&learnt);
                }
            }
        }
        shared.samples.store(collector.samples, Ordering::Relaxed);
        if is_last {
            // nobody is left to hear of an error here
            let _ = to_names.send(collector.take(now_ns));
            return Ok(());
        }
        for pid in collector.forget() {
            tables.unwind.forget(pid);
        }
        if Instant::now() >= due || collector.distinct() >= pace.stacks_held {
            due = Instant::now() + pace.interval;
            hand_over(&mut collector, now_ns, to_names);
        }
        ring::wait_for_records(&ring);
    }
}

/// Gives the interval away; one that finds no room goes on and is told with the next.
fn hand_over(collector: &mut Collector, now_ns: u64, to_names: &SyncSender<Interval>) {
    let interval = collector.take(now_ns);
    if let Err(TrySendError::Full(interval) | TrySendError::Disconnected(interval)) =
        to_names.try_send(interval)
    {
        collector.put_back(interval);
    }
}

fn name_all(shared: &Shared, from_drain: &Receiver<Interval>) {
    let mut reporter = Reporter::default();
    while let Ok(interval) = from_drain.recv() {
        reporter.prepare(&interval);
        let unix_offset_ns = clock::unix_minus_monotonic_ns();
        let write =
            |columns: &mut ProfileColumns| reporter.report(&interval, unix_offset_ns, columns);
        shared.put(write, interval.end_ns);
    }
}
