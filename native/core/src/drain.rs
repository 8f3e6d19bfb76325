//! The thread that empties the ring: timed, with an early wake-up when the ring fills.
//!
//! The kernel wakes it only past half of the ring; otherwise it looks every
//! `ring::DRAIN_INTERVAL`. When columns pile up because nobody takes them, it stops
//! reading: the ring fills, and the kernel leaves whole requests out and counts them.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use libbpf_rs::{MapHandle, RingBuffer};

use crate::advice::AdviceTable;
use crate::clock;
use crate::decode::{Decoded, HttpDecoder};
use crate::error::Result;
use crate::ring::{open_ring, wait_for_records};

/// Records taken from the ring before the columns' size is looked at again.
const RECORDS_AT_ONCE: usize = 2048;
/// Events held for a reader that is slow.
const MAX_PENDING_EVENTS: usize = 8 * 1024;
/// Events that make [`Shared::wait`] return before its time.
const EARLY_EVENTS: usize = 4 * 1024;

/// What the drain thread and the reader of columns share.
pub(crate) struct Shared {
    decoder: Mutex<HttpDecoder>,
    progress: Condvar,
    stop: AtomicBool,
}

impl Shared {
    pub(crate) fn new(decoder: HttpDecoder) -> Arc<Self> {
        Arc::new(Self {
            decoder: Mutex::new(decoder),
            progress: Condvar::new(),
            stop: AtomicBool::new(false),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HttpDecoder> {
        self.decoder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits up to `wait`, less when many events are ready, and takes what is there.
    pub(crate) fn take(&self, wait: Duration) -> Decoded {
        let until = Instant::now() + wait;
        let mut decoder = self.lock();
        while decoder.pending_events() < EARLY_EVENTS && !self.stop.load(Ordering::Acquire) {
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
        decoder.take()
    }

    pub(crate) fn request_stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.progress.notify_all();
    }
}

/// Runs until [`Shared::request_stop`], then empties the ring for the last time.
pub(crate) fn run(shared: &Arc<Shared>, ring: &MapHandle, mut advices: AdviceTable) -> Result<()> {
    let buffer = Rc::new(RefCell::new(Batch::default()));
    let keep = Rc::clone(&buffer);
    let ring = open_ring(ring, move |record| keep.borrow_mut().push(record))?;
    while !shared.stop.load(Ordering::Acquire) {
        drain(shared, &ring, &buffer, &mut advices, MAX_PENDING_EVENTS);
        wait_for_records(&ring);
    }
    drain(shared, &ring, &buffer, &mut advices, usize::MAX);
    shared.lock().finish();
    Ok(())
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

fn drain(
    shared: &Shared,
    ring: &RingBuffer<'_>,
    batch: &RefCell<Batch>,
    advices: &mut AdviceTable,
    limit: usize,
) {
    let mut decoder = shared.lock();
    decoder.set_clock_offset(clock::unix_minus_monotonic_ns());
    while decoder.pending_events() < limit {
        let taken = ring.consume_raw_n(RECORDS_AT_ONCE);
        batch.borrow_mut().decode_into(&mut decoder);
        for update in decoder.policies() {
            advices.give(update);
        }
        if taken <= 0 {
            break;
        }
    }
    decoder.advance(clock::monotonic_ns());
    drop(decoder);
    shared.progress.notify_all();
}
