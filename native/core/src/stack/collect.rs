//! Counts equal stacks, and keeps for each the process image that its addresses belong to.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::on_demand::SampleRing;
use super::record::{End, Kind, Taken, flag};
use super::sideband::{Heard, Sideband};
use crate::clock;
use crate::symbolize::{Image, Objects};

/// A process whose mappings do not hold an address is looked at again after this; twice as late each time that
/// brings nothing new.
const LOOK_AGAIN_NS: u64 = 2_000_000;
const LOOK_AGAIN_AT_LAST_NS: u64 = 10_000_000_000;
/// A process of which no sample came for so long is forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(60);
const FORGET_EVERY: Duration = Duration::from_secs(10);

/// What makes two samples equal.
#[derive(Clone, Debug)]
pub(crate) struct Stack {
    pub(crate) kind: Kind,
    pub(crate) pid: u32,
    pub(crate) tid: u32,
    pub(crate) comm: [u8; 16],
    pub(crate) end: End,
    pub(crate) is_run_queue: bool,
    pub(crate) kernel_frames: usize,
    /// Innermost first, kernel before user.
    pub(crate) frames: Vec<u64>,
    pub(crate) image: Option<Arc<Image>>,
}

impl Stack {
    pub(crate) fn kernel(&self) -> &[u64] {
        &self.frames[..self.kernel_frames]
    }

    pub(crate) fn user(&self) -> &[u64] {
        &self.frames[self.kernel_frames..]
    }

    fn parts(&self) -> impl Eq + std::hash::Hash {
        (
            (self.kind, self.pid, self.tid, self.comm),
            (self.end, self.is_run_queue, self.kernel_frames),
            self.image.as_ref().map(Arc::as_ptr),
        )
    }
}

impl PartialEq for Stack {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts() && self.frames == other.frames
    }
}

impl Eq for Stack {}

impl std::hash::Hash for Stack {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
        self.frames.hash(state);
    }
}

/// How often, and for how long.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weight {
    pub(crate) count: u64,
    pub(crate) value_ns: u64,
}

impl Weight {
    pub(crate) fn add(&mut self, other: Self) {
        self.count += other.count;
        self.value_ns += other.value_ns;
    }
}

/// Stacks of one interval.
#[derive(Debug, Default)]
pub(crate) struct Interval {
    /// CLOCK_MONOTONIC of its begin.
    pub(crate) start_ns: u64,
    pub(crate) end_ns: u64,
    pub(crate) stacks: HashMap<Arc<Stack>, Weight, ahash::RandomState>,
}

/// A sample whose process is known.
#[derive(Debug)]
pub(crate) struct Sampled {
    pub(crate) time_ns: u64,
    pub(crate) stack: Stack,
    pub(crate) weight: Weight,
}

impl Interval {
    fn count(&mut self, sampled: Sampled) {
        match self.stacks.get_mut(&sampled.stack) {
            Some(sum) => sum.add(sampled.weight),
            None => {
                self.stacks.insert(Arc::new(sampled.stack), sampled.weight);
            }
        }
    }
}

/// A process as it was last looked at.
struct Known {
    image: Option<Arc<Image>>,
    /// CLOCK_MONOTONIC before it was read.
    looked_at_ns: u64,
    look_again_after_ns: u64,
    sampled_at: Instant,
}

impl Known {
    fn mappings(&self) -> Option<usize> {
        Some(self.image.as_ref()?.mappings.len())
    }

    fn holds(&self, address: u64) -> bool {
        self.image
            .as_ref()
            .is_some_and(|image| image.find(address).is_some())
    }
}

/// The samples' way from the ring to an [`Interval`].
pub(crate) struct Collector {
    period_ns: u64,
    objects: Objects,
    sideband: Option<Sideband>,
    processes: HashMap<u32, Known>,
    forgotten_at: Instant,
    interval: Interval,
    /// On demand samples wait here.
    pub(crate) ring: Option<SampleRing>,
    pub(crate) samples: u64,
}

/// What the kernel should be told about a process.
#[derive(Clone, Debug)]
pub(crate) struct Learnt {
    pub(crate) pid: u32,
    pub(crate) image: Option<Arc<Image>>,
    /// It has ended already: the image is what was heard of it.
    pub(crate) is_gone: bool,
}

impl Collector {
    pub(crate) fn new(period_ns: u64, start_ns: u64, sideband: Option<Sideband>) -> Self {
        Self {
            period_ns,
            objects: Objects::default(),
            sideband,
            processes: HashMap::new(),
            forgotten_at: Instant::now(),
            interval: Interval {
                start_ns,
                ..Interval::default()
            },
            ring: None,
            samples: 0,
        }
    }

    pub(crate) fn distinct(&self) -> usize {
        self.interval.stacks.len()
    }

    /// Looks at the sample's process where that is needed.
    pub(crate) fn learn(&mut self, taken: &Taken) -> Option<Learnt> {
        self.must_look(taken)
            .then(|| self.look_at(taken.head.pid, taken.head.time_ns))
    }

    /// Counts a sample whose process was looked at.
    pub(crate) fn count(&mut self, taken: &Taken) {
        let stack = self.known_stack(taken);
        let weight = match taken.kind {
            Kind::Cpu => Weight {
                count: 1,
                value_ns: self.period_ns,
            },
            Kind::OffCpu => Weight {
                count: taken.head.weight_ns / self.period_ns,
                value_ns: taken.head.weight_ns,
            },
        };
        self.samples += weight.count;
        let sampled = Sampled {
            time_ns: taken.head.time_ns,
            stack,
            weight,
        };
        match &mut self.ring {
            Some(ring) => ring.add(sampled),
            None => self.interval.count(sampled),
        }
    }

    /// A sample's stack with the process image that it belongs to; tells when the process was looked at.
    pub(crate) fn stack_of(&mut self, taken: &Taken) -> (Stack, Option<Learnt>) {
        let learnt = self.learn(taken);
        (self.known_stack(taken), learnt)
    }

    fn known_stack(&mut self, taken: &Taken) -> Stack {
        let image = self.image(taken.head.pid);
        Stack {
            kind: taken.kind,
            pid: taken.head.pid,
            tid: taken.head.tid,
            comm: taken.head.comm,
            end: taken.end,
            is_run_queue: taken.has(flag::RUN_QUEUE),
            kernel_frames: taken.head.kernel_frames.into(),
            frames: taken.frames.clone(),
            image,
        }
    }

    /// The stacks since the last call.
    pub(crate) fn take(&mut self, now_ns: u64) -> Interval {
        self.interval.end_ns = now_ns;
        std::mem::replace(
            &mut self.interval,
            Interval {
                start_ns: now_ns,
                ..Interval::default()
            },
        )
    }

    /// Goes on with an interval that was taken and not told.
    pub(crate) fn put_back(&mut self, interval: Interval) {
        self.interval = interval;
    }

    /// Takes in what the kernel has told of programs that were started.
    pub(crate) fn hear(&mut self) {
        if let Some(sideband) = &mut self.sideband {
            sideband.hear();
        }
    }

    /// Looks at a process, also before its first sample; `time_ns`: CLOCK_MONOTONIC when it was what it is to be.
    pub(crate) fn look_at(&mut self, pid: u32, time_ns: u64) -> Learnt {
        let looked_at_ns = clock::monotonic_ns();
        let read = Image::read(pid, &mut self.objects);
        let is_gone = read.is_none();
        let image = read.or_else(|| self.heard_of(pid, time_ns)).map(Arc::new);
        let before = self.processes.remove(&pid);
        let is_news = image.is_some()
            && image.as_ref().map(|image| image.mappings.len())
                != before.as_ref().and_then(Known::mappings);
        let known = Known {
            looked_at_ns,
            look_again_after_ns: before
                .as_ref()
                .filter(|_| !is_news)
                .map_or(LOOK_AGAIN_NS, |known| {
                    (known.look_again_after_ns * 2).min(LOOK_AGAIN_AT_LAST_NS)
                }),
            sampled_at: Instant::now(),
            // what has ended keeps the mappings that it had
            image: image.clone().or_else(|| before?.image),
        };
        self.processes.insert(pid, known);
        Learnt {
            pid,
            image,
            is_gone,
        }
    }

    /// The mappings of a process that has ended, as the kernel told of them, or of the one that it was forked from.
    fn heard_of(&mut self, pid: u32, time_ns: u64) -> Option<Image> {
        match self.sideband.as_ref()?.program(pid, time_ns)? {
            Heard::Program(regions) => Image::of(pid, regions, &mut self.objects),
            Heard::ForkOf(parent) => {
                let known = self.processes.get(&parent)?.image.as_ref()?;
                Some(known.for_child(pid))
            }
        }
    }

    /// The mappings of a process that was looked at.
    pub(crate) fn image(&mut self, pid: u32) -> Option<Arc<Image>> {
        let known = self.processes.get_mut(&pid)?;
        known.sampled_at = Instant::now();
        known.image.clone()
    }

    fn must_look(&self, taken: &Taken) -> bool {
        let Some(known) = self.processes.get(&taken.head.pid) else {
            return true;
        };
        // taken before the kernel was told that the process is known, or after it became another program
        if taken.has(flag::NEW_PROCESS) {
            return taken.head.time_ns > known.looked_at_ns;
        }
        taken.head.time_ns > known.looked_at_ns + known.look_again_after_ns
            && !taken
                .user()
                .iter()
                .chain(Some(&taken.head.end_pc).filter(|pc| **pc != 0))
                .all(|address| known.holds(*address))
    }

    /// Processes of which nothing was seen for long, from now on unknown.
    pub(crate) fn forget(&mut self) -> Vec<u32> {
        if self.forgotten_at.elapsed() < FORGET_EVERY {
            return Vec::new();
        }
        self.forgotten_at = Instant::now();
        let is_old = |_: &u32, known: &mut Known| known.sampled_at.elapsed() >= FORGET_AFTER;
        self.processes
            .extract_if(is_old)
            .map(|(pid, _)| pid)
            .collect()
    }
}
