//! Calls from the ring, with their stacks, until they are told.

use std::collections::HashSet;
use std::sync::Arc;

use super::pair::{CallRow, Entered, OpenCalls};
use super::record::{Event, TakenCall};
use super::report::CallReporter;
use crate::decode::TextMask;
use crate::stack::collect::{Collector, Learnt, Stack};

/// Stacks of calls that are kept once, however often they come.
const STACKS_HELD: usize = 16_384;

/// The calls' way from the ring to a report.
pub(crate) struct CallCollector {
    reporter: CallReporter,
    mask: TextMask,
    open: OpenCalls,
    stacks: HashSet<Arc<Stack>, ahash::RandomState>,
    calls: Vec<CallRow>,
    pub(crate) taken: u64,
}

impl CallCollector {
    pub(crate) fn new(reporter: CallReporter, mask: TextMask) -> Self {
        Self {
            reporter,
            mask,
            open: OpenCalls::default(),
            stacks: HashSet::default(),
            calls: Vec::new(),
            taken: 0,
        }
    }

    /// Takes a call; tells when its process was looked at because of it.
    pub(crate) fn add(&mut self, taken: TakenCall, processes: &mut Collector) -> Option<Learnt> {
        self.taken += 1;
        if taken.event == Event::Exit {
            self.calls.push(self.open.take(&taken, None));
            return None;
        }
        let arguments = self.reporter.arguments(&taken, &mut self.mask);
        let (stack, learnt) = processes.stack_of(&taken.sample);
        let entered = Entered {
            stack: self.same(stack),
            arguments,
        };
        self.calls.push(self.open.take(&taken, Some(entered)));
        learnt
    }

    /// One object for equal stacks.
    fn same(&mut self, stack: Stack) -> Arc<Stack> {
        if let Some(known) = self.stacks.get(&stack) {
            return Arc::clone(known);
        }
        if self.stacks.len() >= STACKS_HELD {
            self.stacks.clear();
        }
        let stack = Arc::new(stack);
        self.stacks.insert(Arc::clone(&stack));
        stack
    }

    /// Calls that wait to be told.
    pub(crate) fn waiting(&self) -> usize {
        self.calls.len()
    }

    /// The calls since the last time, in the order of their times.
    pub(crate) fn take(&mut self) -> Vec<CallRow> {
        let mut calls = std::mem::take(&mut self.calls);
        calls.sort_by_key(|call| call.time_ns);
        calls
    }

    /// Goes on with calls that were taken and not told.
    pub(crate) fn put_back(&mut self, mut calls: Vec<CallRow>) {
        calls.append(&mut self.calls);
        self.calls = calls;
    }

    /// Gives up what is known of processes that are gone.
    pub(crate) fn forget(&mut self, pids: &[u32]) {
        self.open.forget(pids);
        if !pids.is_empty() {
            self.stacks.retain(|stack| !pids.contains(&stack.pid));
        }
    }
}
