//! What the stack tracer's threads have ready for the reader of columns.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;

use super::on_demand::Request;
use crate::columns::{FunctionColumns, ProfileColumns};
use crate::error::{Error, ErrorKind, Result};

/// Calls that wait for a slow reader; beyond it their ring fills, and the kernel counts what is lost.
const MOST_CALLS: usize = 200_000;

/// A type of events, and those of it.
type Batch = (&'static str, Option<RecordBatch>);

/// Events that do not fit their columns.
pub(super) fn unfit(cause: &ArrowError) -> Error {
    let what = "events of the stack tracer do not fit their columns";
    Error::new(ErrorKind::Failed, what, cause, "report this as a bug")
}

/// Events that are ready.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    pub(crate) profile: ProfileColumns,
    pub(crate) functions: FunctionColumns,
}

impl Ready {
    fn is_empty(&self) -> bool {
        self.profile.rows() == 0 && self.functions.rows() == 0
    }
}

/// What the threads and the reader of columns share.
#[derive(Default)]
pub(crate) struct Shared {
    ready: Mutex<Ready>,
    progress: Condvar,
    taken: Condvar,
    stop: AtomicBool,
    /// Everything before this CLOCK_MONOTONIC time has been told.
    complete_ns: AtomicU64,
    samples: AtomicU64,
    calls: AtomicU64,
    requests: Mutex<Vec<Request>>,
    captures: AtomicU64,
    given_up: AtomicU64,
}

impl Shared {
    pub(crate) fn samples(&self) -> u64 {
        self.samples.load(Ordering::Relaxed)
    }

    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// How many captures have been told.
    pub(crate) fn captures(&self) -> u64 {
        self.captures.load(Ordering::Acquire)
    }

    /// With rows of a capture, in [`Shared::put`]: who sees the number finds the rows.
    pub(crate) fn count_capture(&self) {
        self.captures.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn give_up(&self, samples: u64) {
        self.given_up.fetch_add(samples, Ordering::Relaxed);
    }

    /// Samples of captures that were given up for want of room, since the last call.
    pub(crate) fn take_given_up(&self) -> u64 {
        self.given_up.swap(0, Ordering::Relaxed)
    }

    pub(crate) fn ask(&self, request: Request) {
        self.requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(request);
    }

    pub(crate) fn take_requests(&self) -> Vec<Request> {
        std::mem::take(&mut *self.requests.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn count(&self, samples: u64, calls: u64) {
        self.samples.store(samples, Ordering::Relaxed);
        self.calls.store(calls, Ordering::Relaxed);
    }

    pub(crate) fn complete_ns(&self) -> u64 {
        self.complete_ns.load(Ordering::Acquire)
    }

    pub(crate) fn request_stop(&self) {
        // locked: who has looked at `stop` and is not waiting yet would miss the call
        let ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        self.stop.store(true, Ordering::Release);
        drop(ready);
        self.taken.notify_all();
        self.progress.notify_all();
    }

    pub(crate) fn must_stop(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Waits up to `wait` for events, less when there are some.
    ///
    /// # Errors
    /// Where they do not fit their columns: they are not lost without a word.
    pub(crate) fn take(&self, wait: Duration) -> Result<Vec<Batch>> {
        let ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        let is_idle = |ready: &mut Ready| ready.is_empty() && !self.must_stop();
        let (mut ready, _) = self
            .progress
            .wait_timeout_while(ready, wait, is_idle)
            .unwrap_or_else(PoisonError::into_inner);
        let (profile, functions) = (ready.profile.finish(), ready.functions.finish());
        drop(ready);
        self.taken.notify_all();
        Ok(vec![
            ("profile", profile.map_err(|error| unfit(&error))?),
            ("function", functions.map_err(|error| unfit(&error))?),
        ])
    }

    /// Adds events; `complete_ns`: everything before it is told then.
    pub(crate) fn put(&self, write: impl FnOnce(&mut Ready), complete_ns: Option<u64>) {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        write(&mut ready);
        if let Some(complete_ns) = complete_ns {
            self.complete_ns.store(complete_ns, Ordering::Release);
        }
        drop(ready);
        self.progress.notify_all();
    }

    /// Waits while the reader has more calls before it than it should.
    pub(crate) fn wait_for_room(&self) {
        let ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = |ready: &mut Ready| ready.functions.rows() >= MOST_CALLS && !self.must_stop();
        drop(
            self.taken
                .wait_while(ready, is_full)
                .unwrap_or_else(PoisonError::into_inner),
        );
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;
    use std::time::{Duration, Instant};

    use super::Shared;

    /// Who asks for the end has to wait for who is between its look at `stop` and its sleep.
    #[test]
    fn a_stop_is_not_asked_for_while_somebody_decides_whether_to_wait() {
        let shared = Arc::new(Shared::default());
        let has_stopped = Arc::new(AtomicBool::new(false));
        let ready = shared.ready.lock().expect("nobody has it");
        assert!(!shared.must_stop());
        let (others, told) = (Arc::clone(&shared), Arc::clone(&has_stopped));
        let stopper = thread::spawn(move || {
            others.request_stop();
            told.store(true, Ordering::Release);
        });
        thread::sleep(Duration::from_millis(100));
        assert!(!shared.must_stop() && !has_stopped.load(Ordering::Acquire));
        drop(ready);
        stopper.join().expect("it ends");
        assert!(shared.must_stop());
    }

    #[test]
    fn who_waits_for_events_is_woken_by_the_end() {
        const PATIENCE: Duration = Duration::from_secs(60);
        let shared = Arc::new(Shared::default());
        let others = Arc::clone(&shared);
        let begun = Instant::now();
        let reader = thread::spawn(move || others.take(PATIENCE).map(|batches| batches.len()));
        thread::sleep(Duration::from_millis(50));
        shared.request_stop();
        assert_eq!(reader.join().expect("it ends").ok(), Some(2));
        assert!(begun.elapsed() < PATIENCE);
    }
}
