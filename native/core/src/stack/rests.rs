//! Samples whose walk could not go on in the kernel: of programs that it did not know yet.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::record::{End, Taken, TakenRest, flag};
use crate::symbolize::Image;
use crate::unwind::tables::Tables;
use crate::unwind::walk::Walk;

/// Rests that wait for their sample, which is the next record of the same CPU.
const MOST_RESTS: usize = 256;
/// Samples that wait for tables, and how long they do.
const MOST_WAITING: usize = 1024;
const PATIENCE: Duration = Duration::from_secs(1);

/// A sample that waits for the tables of its program.
struct Waiting {
    taken: Taken,
    rest: Arc<TakenRest>,
    image: Arc<Image>,
    until: Instant,
}

/// Rests of stacks, and the samples that wait for being walked to their end.
pub(crate) struct Rests {
    came: VecDeque<Arc<TakenRest>>,
    waiting: VecDeque<Waiting>,
    max_depth: usize,
}

impl Rests {
    pub(crate) fn new(max_depth: usize) -> Self {
        Self {
            came: VecDeque::new(),
            waiting: VecDeque::new(),
            max_depth,
        }
    }

    /// Keeps a rest for the sample that follows.
    pub(crate) fn came(&mut self, rest: TakenRest) {
        if self.came.len() >= MOST_RESTS {
            self.came.pop_front();
        }
        self.came.push_back(Arc::new(rest));
    }

    /// The rest of a sample's stack. A wait may be told by two samples with the same one.
    pub(crate) fn of(&self, taken: &Taken) -> Option<Arc<TakenRest>> {
        let is_its = |rest: &&Arc<TakenRest>| {
            rest.tid == taken.head.tid && rest.time_ns == taken.head.time_ns
        };
        if !taken.has(flag::HAS_REST) {
            return None;
        }
        self.came.iter().rev().find(is_its).cloned()
    }

    /// A sample that is walked as soon as its tables are there.
    pub(crate) fn wait(&mut self, taken: Taken, rest: Arc<TakenRest>, image: Arc<Image>) {
        self.waiting.push_back(Waiting {
            taken,
            rest,
            image,
            until: Instant::now() + PATIENCE,
        });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Samples that are as complete as they will ever be.
    pub(crate) fn finished(&mut self, tables: &Tables, is_last: bool) -> Vec<Taken> {
        let mut finished = Vec::new();
        let mut excess = self.waiting.len().saturating_sub(MOST_WAITING);
        let now = Instant::now();
        let max_depth = self.max_depth;
        self.waiting.retain_mut(|waiting| {
            let may_wait = !is_last && excess == 0 && now < waiting.until;
            if !waiting.walk(tables, max_depth, may_wait) {
                return true;
            }
            excess = excess.saturating_sub(1);
            finished.push(waiting.taken.clone());
            false
        });
        finished
    }
}

impl Waiting {
    /// Walks as far as tables lead. Whether that is as far as it goes: with `may_wait` a table may still come.
    fn walk(&mut self, tables: &Tables, max_depth: usize, may_wait: bool) -> bool {
        let known = self.taken.user().len();
        let mut frames = Vec::new();
        let (end, end_pc) = Walk::new(&self.rest).follow(
            |pc| tables.find(&self.image, pc),
            max_depth.saturating_sub(known),
            &mut frames,
        );
        if end == End::NoTable && may_wait {
            return false;
        }
        self.taken.append(&frames, end, end_pc);
        true
    }
}
