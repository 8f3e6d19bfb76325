//! The thread that empties the ring: timed, with an early wake-up when the ring fills.
//!
//! The kernel wakes it only past half of the ring; otherwise it looks every
//! `ring::DRAIN_INTERVAL`. When columns pile up because nobody takes them, or when the tracer has used
//! the processor time that it was given, it stops reading: the ring fills, and the kernel leaves whole
//! requests out and counts them.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use libbpf_rs::{MapHandle, RingBuffer};

use crate::advice::AdviceTable;
use crate::budget::{Budget, Reading};
use crate::clock;
use crate::decode::{Decoded, HttpDecoder};
use crate::error::Result;
use crate::ring::{DRAIN_INTERVAL, open_ring, wait_for_records};

/// Records taken from the ring before the columns' size is looked at again.
const RECORDS_AT_ONCE: usize = 2048;
/// Events held for a reader that is slow.
const MAX_PENDING_EVENTS: usize = 8 * 1024;
/// Events that make [`Shared::wait`] return before its time.
const EARLY_EVENTS: usize = 4 * 1024;

/// What the drain thread and the reader of columns share.
pub(crate) struct Shared {
    decoder: Mutex<HttpDecoder>,
    /// Something was decoded.
    progress: Condvar,
    /// Something was taken, or the end has come.
    room: Condvar,
    stop: AtomicBool,
    complete_until_ns: AtomicU64,
}

impl Shared {
    pub(crate) fn new(decoder: HttpDecoder) -> Arc<Self> {
        Arc::new(Self {
            decoder: Mutex::new(decoder),
            progress: Condvar::new(),
            room: Condvar::new(),
            stop: AtomicBool::new(false),
            complete_until_ns: AtomicU64::new(0),
        })
    }

    fn must_stop(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Records up to this time, in ns of CLOCK_MONOTONIC, have been decoded.
    pub(crate) fn complete_until_ns(&self) -> u64 {
        self.complete_until_ns.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, HttpDecoder> {
        self.decoder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits up to `wait`, less when many events are ready, and takes what is there.
    pub(crate) fn take(&self, wait: Duration) -> Decoded {
        let until = Instant::now() + wait;
        let mut decoder = self.lock();
        while decoder.pending_events() < EARLY_EVENTS && !self.must_stop() {
            let Some(left) = until
                .checked_duration_since(Instant::now())
                .filter(|left| !left.is_zero())
            else {
                break;
            };
            decoder = self
                .progress
                .wait_timeout(decoder, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        let decoded = decoder.take();
        self.room.notify_all();
        decoded
    }

    pub(crate) fn request_stop(&self) {
        // under the lock, so that nobody starts to wait after having looked
        let decoder = self.lock();
        self.stop.store(true, Ordering::Release);
        drop(decoder);
        self.progress.notify_all();
        self.room.notify_all();
    }

    /// Waits while `reason` holds, at most for `longest`, and no longer than the session.
    fn rest(&self, longest: Duration, reason: impl Fn(&HttpDecoder) -> bool) {
        let waits = |decoder: &mut HttpDecoder| reason(decoder) && !self.must_stop();
        drop(self.room.wait_timeout_while(self.lock(), longest, waits));
    }
}

/// Runs until [`Shared::request_stop`], then empties the ring for the last time.
///
/// `cpu_percent` bounds the processor time of the whole tracer, in percent of one processor.
pub(crate) fn run(
    shared: &Arc<Shared>,
    ring: &MapHandle,
    mut advices: AdviceTable,
    cpu_percent: Option<f64>,
) -> Result<()> {
    let buffer = Rc::new(RefCell::new(Batch::default()));
    let keep = Rc::clone(&buffer);
    let ring = open_ring(ring, move |record| keep.borrow_mut().push(record))?;
    let mut budget = cpu_percent.map(|percent| Budget::new(percent, Reading::take()));
    let limit = Limit {
        events: MAX_PENDING_EVENTS,
        turns: if budget.is_some() { 1 } else { usize::MAX },
    };
    while !shared.must_stop() {
        let is_empty = drain(shared, &ring, &buffer, &mut advices, limit);
        let pause = budget
            .as_mut()
            .map_or(Duration::ZERO, |budget| budget.pause(Reading::take()));
        if !pause.is_zero() {
            shared.rest(pause, |_| true);
        } else if is_empty {
            wait_for_records(&ring);
        } else {
            shared.rest(DRAIN_INTERVAL, |decoder| {
                decoder.pending_events() >= MAX_PENDING_EVENTS
            });
        }
    }
    drain(shared, &ring, &buffer, &mut advices, Limit::NONE);
    shared.lock().finish();
    Ok(())
}

/// Where a drain ends before the ring is empty.
#[derive(Clone, Copy)]
struct Limit {
    /// Events that wait to be taken.
    events: usize,
    /// Reads of [`RECORDS_AT_ONCE`]: one where what that has cost is looked at.
    turns: usize,
}

impl Limit {
    const NONE: Self = Self {
        events: usize::MAX,
        turns: usize::MAX,
    };
}

/// Records of one `consume`, back to back: decoding them under one lock keeps the lock's holder short.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Batch {
    fn push(&mut self, record: &[u8]) {
        self.bytes.extend_from_slice(record);
        self.ends.push(self.bytes.len());
    }

    fn decode_into(&mut self, decoder: &mut HttpDecoder) {
        let mut start = 0;
        for &end in &self.ends {
            decoder.record(&self.bytes[start..end]);
            start = end;
        }
        self.bytes.clear();
        self.ends.clear();
    }
}

/// Decodes what the ring holds, up to a limit; returns whether that was all.
fn drain(
    shared: &Shared,
    ring: &RingBuffer<'_>,
    batch: &RefCell<Batch>,
    advices: &mut AdviceTable,
    limit: Limit,
) -> bool {
    let mut decoder = shared.lock();
    decoder.set_clock_offset(clock::unix_minus_monotonic_ns());
    let began_ns = clock::monotonic_ns();
    let mut is_empty = false;
    for _ in 0..limit.turns {
        if is_empty || decoder.pending_events() >= limit.events {
            break;
        }
        let taken = ring.consume_raw_n(RECORDS_AT_ONCE);
        batch.borrow_mut().decode_into(&mut decoder);
        for update in decoder.policies() {
            advices.give(update);
        }
        is_empty = usize::try_from(taken).unwrap_or(0) < RECORDS_AT_ONCE;
    }
    let until_ns = if is_empty {
        began_ns
    } else {
        decoder.latest_ns().min(began_ns)
    };
    decoder.advance(until_ns);
    shared
        .complete_until_ns
        .fetch_max(until_ns, Ordering::AcqRel);
    drop(decoder);
    shared.progress.notify_all();
    is_empty
}
