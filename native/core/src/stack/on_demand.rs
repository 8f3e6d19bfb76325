//! On demand: the samples of the last seconds, told only where a capture asks for them.
//!
//! Equal stacks are held once. A capture's window is divided by its cuts; samples between two cuts are counted by
//! stack, as those of an interval are in the other modes.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::collect::{Interval, Sampled, Stack, Weight};
use super::record::Kind;

/// Samples that are held at most, whatever their age: 24 bytes each.
const MAX_SAMPLES: usize = 1 << 18;
/// How often stacks that no sample has any more are looked for.
const TIDY_EVERY_NS: u64 = 1_000_000_000;

/// What is to be told: the samples from the first to the last of `cuts`.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Told with each row.
    pub(crate) number: u32,
    /// CLOCK_MONOTONIC, ascending, two at least.
    pub(crate) cuts: Vec<u64>,
    /// Unix time minus CLOCK_MONOTONIC when it was asked for: rows begin exactly at the cuts that the caller knows.
    pub(crate) unix_offset_ns: i64,
}

/// A capture that is complete, and not named yet.
#[derive(Debug)]
pub(crate) struct Captured {
    pub(crate) request: Request,
    /// One between each two cuts.
    pub(crate) parts: Vec<Interval>,
    /// Samples of its window that were given up for want of room.
    pub(crate) given_up: u64,
}

struct Held {
    time_ns: u64,
    weight_ns: u64,
    stack: Arc<Stack>,
}

/// The samples of the last seconds.
pub(crate) struct SampleRing {
    keep_ns: u64,
    period_ns: u64,
    max_stacks: usize,
    samples: VecDeque<Held>,
    stacks: HashSet<Arc<Stack>, ahash::RandomState>,
    tidied_ns: u64,
    /// (until, samples up to then that were given up), by second.
    given_up: VecDeque<(u64, u64)>,
    requests: Vec<Request>,
}

impl SampleRing {
    /// Samples are `period_ns` apart, and held for as long as `keep`; `max_stacks` bounds the distinct stacks.
    pub(crate) fn new(keep: Duration, period_ns: u64, max_stacks: usize) -> Self {
        Self {
            keep_ns: u64::try_from(keep.as_nanos()).unwrap_or(u64::MAX),
            period_ns,
            max_stacks,
            samples: VecDeque::new(),
            stacks: HashSet::default(),
            tidied_ns: 0,
            given_up: VecDeque::new(),
            requests: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, sampled: Sampled) {
        let stack = if let Some(known) = self.stacks.get(&sampled.stack) {
            Arc::clone(known)
        } else {
            let new = Arc::new(sampled.stack);
            self.stacks.insert(Arc::clone(&new));
            new
        };
        self.samples.push_back(Held {
            time_ns: sampled.time_ns,
            weight_ns: sampled.weight.value_ns,
            stack,
        });
        while self.samples.len() > MAX_SAMPLES || self.stacks.len() > self.max_stacks {
            self.give_up();
        }
    }

    pub(crate) fn ask(&mut self, request: Request) {
        self.requests.push(request);
    }

    /// The captures whose windows are over by `now_ns`, up to which all samples have been added; those that are not
    /// over as well, where this `is_last`.
    pub(crate) fn complete(&mut self, now_ns: u64, is_last: bool) -> Vec<Captured> {
        let is_over =
            |request: &mut Request| is_last || request.cuts.last().is_none_or(|cut| *cut <= now_ns);
        let over: Vec<_> = self.requests.extract_if(.., is_over).collect();
        let captured = over.into_iter().map(|request| self.capture(request));
        let captured = captured.collect();
        self.forget(now_ns);
        captured
    }

    /// Drops what is older than any capture may ask for.
    fn forget(&mut self, now_ns: u64) {
        let begins = self
            .requests
            .iter()
            .filter_map(|request| request.cuts.first());
        let horizon_ns = begins
            .copied()
            .chain([now_ns.saturating_sub(self.keep_ns)])
            .min()
            .unwrap_or(now_ns);
        while self
            .samples
            .front()
            .is_some_and(|held| held.time_ns < horizon_ns)
        {
            self.samples.pop_front();
        }
        while self
            .given_up
            .front()
            .is_some_and(|(until_ns, _)| *until_ns < horizon_ns)
        {
            self.given_up.pop_front();
        }
        if now_ns >= self.tidied_ns + TIDY_EVERY_NS {
            self.tidied_ns = now_ns;
            self.stacks.retain(|stack| Arc::strong_count(stack) > 1);
        }
    }

    /// Makes room before its time.
    fn give_up(&mut self) {
        let Some(oldest) = self.samples.pop_front() else {
            return self.stacks.clear();
        };
        // the ring's and this one
        if Arc::strong_count(&oldest.stack) == 2 {
            self.stacks.remove(&oldest.stack);
        }
        match self.given_up.back_mut() {
            Some((until_ns, count)) if oldest.time_ns < *until_ns => *count += 1,
            _ => self.given_up.push_back((oldest.time_ns + TIDY_EVERY_NS, 1)),
        }
    }

    fn capture(&self, request: Request) -> Captured {
        let mut parts: Vec<_> = request
            .cuts
            .windows(2)
            .map(|cut| Interval {
                start_ns: cut[0],
                end_ns: cut[1],
                ..Interval::default()
            })
            .collect();
        for held in &self.samples {
            match held.stack.kind {
                Kind::Cpu => held.count_in(&mut parts),
                Kind::OffCpu => held.spread_over(&mut parts, self.period_ns),
            }
        }
        let begin_ns = request.cuts.first().copied().unwrap_or(0);
        let given_up = self.given_up.iter();
        Captured {
            given_up: given_up
                .filter(|(until_ns, _)| *until_ns > begin_ns)
                .map(|(_, count)| count)
                .sum(),
            request,
            parts,
        }
    }
}

impl Held {
    fn count_in(&self, parts: &mut [Interval]) {
        let at = parts.partition_point(|part| part.end_ns <= self.time_ns);
        if let Some(part) = parts
            .get_mut(at)
            .filter(|part| part.start_ns <= self.time_ns)
        {
            add(part, &self.stack, 1, self.weight_ns);
        }
    }

    /// A wait ends when it is told: each part gets what lies in it, in whole periods that add up.
    fn spread_over(&self, parts: &mut [Interval], period_ns: u64) {
        let begin_ns = self.time_ns.saturating_sub(self.weight_ns);
        let periods_until =
            |at_ns: u64| (at_ns.clamp(begin_ns, self.time_ns) - begin_ns) / period_ns;
        let first = parts.partition_point(|part| part.end_ns <= begin_ns);
        for part in &mut parts[first..] {
            if part.start_ns > self.time_ns {
                break;
            }
            let count = periods_until(part.end_ns) - periods_until(part.start_ns);
            if count > 0 {
                add(part, &self.stack, count, count * period_ns);
            }
        }
    }
}

fn add(part: &mut Interval, stack: &Arc<Stack>, count: u64, value_ns: u64) {
    let sum = part.stacks.entry(Arc::clone(stack)).or_default();
    sum.add(Weight { count, value_ns });
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::{Captured, Request, SampleRing};
    use crate::stack::collect::{Sampled, Stack, Weight};
    use crate::stack::record::{End, Kind};

    const PERIOD_NS: u64 = 10;

    fn sampled(time_ns: u64, frame: u64) -> Sampled {
        of_kind(Kind::Cpu, time_ns, PERIOD_NS, frame)
    }

    fn of_kind(kind: Kind, time_ns: u64, value_ns: u64, frame: u64) -> Sampled {
        Sampled {
            time_ns,
            weight: Weight {
                count: value_ns / PERIOD_NS,
                value_ns,
            },
            stack: Stack {
                kind,
                pid: 1,
                tid: 1,
                comm: [0; 16],
                end: End::Complete,
                is_run_queue: false,
                kernel_frames: 0,
                frames: vec![frame],
                image: None,
            },
        }
    }

    fn ring(keep_ns: u64, max_stacks: usize) -> SampleRing {
        SampleRing::new(Duration::from_nanos(keep_ns), PERIOD_NS, max_stacks)
    }

    fn request(cuts: &[u64]) -> Request {
        Request {
            number: 1,
            cuts: cuts.to_vec(),
            unix_offset_ns: 0,
        }
    }

    /// (frame, count) of each part, sorted.
    fn counts(captured: &Captured) -> Vec<Vec<(u64, u64)>> {
        let of_part = |part: &super::Interval| {
            let mut found: Vec<_> = part
                .stacks
                .iter()
                .map(|(stack, weight)| (stack.frames[0], weight.count))
                .collect();
            found.sort_unstable();
            found
        };
        captured.parts.iter().map(of_part).collect()
    }

    #[test]
    fn samples_before_and_behind_the_request_are_divided_by_its_cuts() {
        let mut ring = ring(1000, 64);
        for (time_ns, frame) in [(99, 1), (100, 2), (110, 2), (199, 3), (200, 4)] {
            ring.add(sampled(time_ns, frame));
        }
        ring.ask(request(&[100, 200, 300]));
        assert!(ring.complete(299, false).is_empty());
        ring.add(sampled(299, 4));
        ring.add(sampled(300, 5));
        let captured = ring.complete(300, false);
        assert_eq!(counts(&captured[0]), [vec![(2, 2), (3, 1)], vec![(4, 2)]]);
        assert_eq!(captured[0].given_up, 0);
        assert!(ring.complete(1000, true).is_empty());
    }

    #[test]
    fn a_window_that_is_not_over_ends_with_the_run() {
        let mut ring = ring(1000, 64);
        ring.add(sampled(150, 1));
        ring.ask(request(&[100, 200]));
        assert_eq!(counts(&ring.complete(160, true)[0]), [vec![(1, 1)]]);
    }

    #[test]
    fn what_is_too_old_is_forgotten_unless_a_capture_waits_for_it() {
        let mut ring = ring(100, 64);
        for time_ns in [0, 50, 120] {
            ring.add(sampled(time_ns, time_ns));
        }
        ring.ask(request(&[50, 2_000_000_000]));
        ring.complete(1_100_000_000, false);
        assert_eq!(ring.samples.len(), 2);
        assert_eq!(ring.stacks.len(), 2);
        let captured = ring.complete(2_000_000_000, false);
        assert_eq!(counts(&captured[0]), [vec![(50, 1), (120, 1)]]);
        assert_eq!((ring.samples.len(), ring.stacks.len()), (0, 2));
        drop(captured);
        ring.complete(4_000_000_000, false);
        assert_eq!(ring.stacks.len(), 0);
    }

    #[test]
    fn the_oldest_samples_make_room_and_are_counted() {
        let mut ring = ring(1000, 2);
        for frame in 1..=5 {
            ring.add(sampled(100 + frame, frame));
        }
        ring.ask(request(&[100, 200]));
        let captured = ring.complete(200, false);
        assert_eq!(counts(&captured[0]), [vec![(4, 1), (5, 1)]]);
        assert_eq!(captured[0].given_up, 3);
        ring.ask(request(&[2_000_000_000, 2_000_000_001]));
        assert_eq!(ring.complete(2_000_000_001, false)[0].given_up, 0);
    }

    #[test]
    fn a_wait_is_spread_over_the_parts_that_it_lies_in() {
        let mut ring = ring(1000, 64);
        ring.add(of_kind(Kind::OffCpu, 250, 200, 1)); // from 50 to 250
        ring.ask(request(&[100, 135, 200, 240]));
        let captured = ring.complete(300, false);
        assert_eq!(
            counts(&captured[0]),
            [vec![(1, 3)], vec![(1, 7)], vec![(1, 4)]]
        );
        let value: u64 = captured[0]
            .parts
            .iter()
            .flat_map(|part| part.stacks.values())
            .map(|weight| weight.value_ns)
            .sum();
        assert_eq!(value, 140);
    }

    #[test]
    fn equal_stacks_are_held_once() {
        let mut ring = ring(1000, 64);
        for time_ns in 0..10 {
            ring.add(sampled(time_ns, 7));
        }
        assert_eq!(ring.stacks.len(), 1);
        let stack = ring.stacks.iter().next().map(Arc::strong_count);
        assert_eq!(stack, Some(11));
    }
}
