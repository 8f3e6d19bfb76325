//! Calls that are open, so that an exit can tell what its entry knew.
//!
//! The kernel has paired them already: an exit names the time of its entry. What lies above that entry on the same
//! thread was left without a return.

use std::collections::HashMap;
use std::sync::Arc;

use super::record::{Event, TakenCall};
use crate::stack::collect::Stack;

/// Calls that one thread may have open here; the oldest are given up.
const MOST_OPEN: usize = 4096;
/// Threads and goroutines with open calls.
const MOST_CONTEXTS: usize = 65_536;

/// What an entry knew.
#[derive(Clone, Debug)]
pub(crate) struct Entered {
    pub(crate) stack: Arc<Stack>,
    /// Text by argument, where it could be read.
    pub(crate) arguments: Arc<[Option<String>]>,
}

/// An entry or an exit, ready to be told.
#[derive(Clone, Debug)]
pub(crate) struct CallRow {
    pub(crate) time_ns: u64,
    pub(crate) pid: u32,
    pub(crate) tid: u32,
    pub(crate) comm: [u8; 16],
    pub(crate) function: u32,
    pub(crate) event: Event,
    /// Of an exit.
    pub(crate) duration_ns: Option<u64>,
    /// Without the traced functions that it called.
    pub(crate) self_ns: Option<u64>,
    pub(crate) result: Option<u64>,
    /// Of an exit whose entry was lost: none.
    pub(crate) entered: Option<Entered>,
}

#[derive(Debug)]
struct Open {
    function: u32,
    time_ns: u64,
    called_ns: u64,
    entered: Entered,
}

/// Open calls by thread or goroutine.
#[derive(Debug, Default)]
pub(crate) struct OpenCalls {
    contexts: HashMap<(u32, u64), Vec<Open>, ahash::RandomState>,
}

impl OpenCalls {
    /// Takes a record; `entered` is what it tells of an entry.
    pub(crate) fn take(&mut self, taken: &TakenCall, entered: Option<Entered>) -> CallRow {
        let head = &taken.sample.head;
        let mut row = CallRow {
            time_ns: head.time_ns,
            pid: head.pid,
            tid: head.tid,
            comm: head.comm,
            function: taken.call.function,
            event: taken.event,
            duration_ns: None,
            self_ns: None,
            result: None,
            entered,
        };
        let context = match taken.call.context {
            0 => head.tid.into(),
            goroutine => goroutine,
        };
        match (taken.event, row.entered.clone()) {
            (Event::Entry, Some(entered)) => self.enter((head.pid, context), &row, entered),
            (Event::Entry, None) => {}
            (Event::Exit, _) => {
                let duration_ns = head.time_ns.saturating_sub(taken.call.entered_ns);
                row.duration_ns = Some(duration_ns);
                row.result = (taken.call.known & 1 != 0).then_some(taken.call.result);
                let open = self.leave((head.pid, context), &row, taken.call.entered_ns);
                let called_ns = open.as_ref().map_or(0, |open| open.called_ns);
                row.self_ns = Some(duration_ns.saturating_sub(called_ns));
                row.entered = open.map(|open| open.entered);
            }
        }
        row
    }

    fn enter(&mut self, context: (u32, u64), row: &CallRow, entered: Entered) {
        if self.contexts.len() >= MOST_CONTEXTS {
            self.contexts.clear();
        }
        let open = self.contexts.entry(context).or_default();
        if open.len() >= MOST_OPEN {
            open.drain(..MOST_OPEN / 2);
        }
        open.push(Open {
            function: row.function,
            time_ns: row.time_ns,
            called_ns: 0,
            entered,
        });
    }

    /// The call that was entered last before `entered_ns`; those after it are gone.
    fn leave(&mut self, context: (u32, u64), row: &CallRow, entered_ns: u64) -> Option<Open> {
        let open = self.contexts.get_mut(&context)?;
        let still = open.partition_point(|call| call.time_ns <= entered_ns);
        open.truncate(still);
        let call = open.pop_if(|call| call.function == row.function);
        if let (Some(caller), Some(duration_ns)) = (open.last_mut(), row.duration_ns) {
            caller.called_ns += duration_ns;
        }
        if open.is_empty() {
            self.contexts.remove(&context);
        }
        call
    }

    /// Gives up the calls of processes that are forgotten.
    pub(crate) fn forget(&mut self, pids: &[u32]) {
        if !pids.is_empty() {
            self.contexts.retain(|(pid, _), _| !pids.contains(pid));
        }
    }
}
