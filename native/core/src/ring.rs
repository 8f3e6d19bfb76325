//! The kernel's ring from the reader's side: timed, with an early wake-up when the kernel says so.

use std::time::Duration;

use libbpf_rs::{MapHandle, RingBuffer, RingBufferBuilder};

use crate::error::{Error, ErrorKind, Result};

/// How often the ring is looked at when nobody wakes the reader.
pub(crate) const DRAIN_INTERVAL: Duration = Duration::from_millis(50);

/// What takes a ring's records.
pub(crate) type Keep = Box<dyn Fn(&[u8])>;

/// A reader that gives each record to `keep`.
pub(crate) fn open_ring(
    ring: &MapHandle,
    keep: impl Fn(&[u8]) + 'static,
) -> Result<RingBuffer<'static>> {
    open_rings(vec![(ring, Box::new(keep))])
}

/// One reader of several rings, each with its own taker.
pub(crate) fn open_rings(rings: Vec<(&MapHandle, Keep)>) -> Result<RingBuffer<'static>> {
    let failed = |error| {
        Error::new(
            ErrorKind::Failed,
            "cannot read the kernel's ring",
            error,
            "run again",
        )
    };
    let mut builder = RingBufferBuilder::new();
    for (ring, keep) in rings {
        builder
            .add(ring, move |record: &[u8]| {
                keep(record);
                0
            })
            .map_err(failed)?;
    }
    builder.build().map_err(failed)
}

/// Sleeps for [`DRAIN_INTERVAL`] or until the kernel wakes the reader.
pub(crate) fn wait_for_records(ring: &RingBuffer<'_>) {
    let mut event = libc::epoll_event { events: 0, u64: 0 };
    let milliseconds = i32::try_from(DRAIN_INTERVAL.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the descriptor belongs to `ring`, and `event` has room for the one event asked for.
    unsafe { libc::epoll_wait(ring.epoll_fd(), &raw mut event, 1, milliseconds) };
}
