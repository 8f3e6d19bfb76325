//! Number and latency of calls, as the kernel has counted them: what is new since the last look.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use libbpf_rs::{MapCore, MapFlags, MapHandle};

use crate::error::{Error, ErrorKind, Result};
use crate::stack::report::comm_text;

/// `LATENCY_STEPS` and `LATENCY_BUCKETS` of `bpf/include/call_state.h`.
const STEPS: u32 = 3;
const BUCKETS: usize = 36 << STEPS;
const SUMS: usize = 4;
const COMM_BYTES: usize = 16;
const BUCKETS_AT: usize = SUMS * size_of::<u64>() + COMM_BYTES;
const VALUE_BYTES: usize = BUCKETS_AT + BUCKETS * size_of::<u64>();
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What one function did in one process since the last look.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct NewCalls {
    pub(crate) function: u32,
    pub(crate) pid: u32,
    pub(crate) comm: String,
    pub(crate) entries: u64,
    pub(crate) exits: u64,
    pub(crate) total_ns: u64,
    /// The longest; exact where it is the longest so far, else the upper end of its bucket.
    pub(crate) max_ns: u64,
    /// The middle of each bucket that is not empty, and how many calls took about so long.
    pub(crate) latencies: Vec<(u64, u64)>,
}

/// Sums over all CPUs.
#[derive(Clone, Debug)]
struct Sums {
    comm: String,
    entries: u64,
    exits: u64,
    total_ns: u64,
    max_ns: u64,
    buckets: Vec<u64>,
}

/// The kernel's table `call_counts`.
pub(crate) struct CallCounts {
    map: MapHandle,
    /// Of tracepoints, which no process is told of.
    events: MapHandle,
    told_events: Vec<u64>,
    told: HashMap<[u8; 8], Sums>,
    looked_at: Option<Instant>,
}

impl CallCounts {
    pub(crate) fn new(map: MapHandle, events: MapHandle) -> Self {
        Self {
            map,
            told_events: vec![0; events.max_entries() as usize],
            events,
            told: HashMap::new(),
            looked_at: None,
        }
    }

    /// What is new; nothing where the last look was a moment ago and `is_last` is not set.
    pub(crate) fn read(&mut self, is_last: bool) -> Result<Vec<NewCalls>> {
        if !is_last && self.looked_at.is_some_and(|at| at.elapsed() < LOOK_EVERY) {
            return Ok(Vec::new());
        }
        self.looked_at = Some(Instant::now());
        let mut all = Vec::new();
        let keys: Vec<[u8; 8]> = self
            .map
            .keys()
            .filter_map(|key| key.first_chunk().copied())
            .collect();
        for key in keys {
            let (function, pid) = parts(key);
            // asked before the look: what a process counts before its end is in it
            let is_gone = !Path::new(&format!("/proc/{pid}")).exists();
            if let Some(sums) = self.look(&key)? {
                all.extend(self.news(key, function, pid, sums));
            }
            if is_gone {
                // a key that is gone already is as good
                let _ = self.map.delete(&key);
                self.told.remove(&key);
            }
        }
        all.extend(self.new_events()?);
        Ok(all)
    }

    fn new_events(&mut self) -> Result<Vec<NewCalls>> {
        let mut all = Vec::new();
        for (function, told) in (0u32..).zip(&mut self.told_events) {
            let values = self
                .events
                .lookup_percpu(&function.to_ne_bytes(), MapFlags::ANY)
                .map_err(|error| not_read(&error))?;
            let now: u64 = values.iter().flatten().flat_map(|cpu| words(cpu)).sum();
            if now > *told {
                all.push(NewCalls {
                    function,
                    entries: now - *told,
                    ..NewCalls::default()
                });
            }
            *told = now;
        }
        Ok(all)
    }

    fn look(&self, key: &[u8]) -> Result<Option<Sums>> {
        let values = self
            .map
            .lookup_percpu(key, MapFlags::ANY)
            .map_err(|error| not_read(&error))?;
        Ok(values.map(|values| add_up(&values)))
    }

    fn news(&mut self, key: [u8; 8], function: u32, pid: u32, now: Sums) -> Option<NewCalls> {
        let new = difference(self.told.get(&key), &now, function, pid);
        self.told.insert(key, now);
        (new.entries + new.exits > 0).then_some(new)
    }
}

fn not_read(cause: &libbpf_rs::Error) -> Error {
    let what = "cannot read the counts of calls";
    Error::new(ErrorKind::Failed, what, cause, "run again")
}

/// `struct counted_calls`.
fn parts(key: [u8; 8]) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = key;
    (
        u32::from_ne_bytes([a, b, c, d]),
        u32::from_ne_bytes([e, f, g, h]),
    )
}

fn add_up(values: &[Vec<u8>]) -> Sums {
    let mut sums = Sums {
        comm: String::new(),
        entries: 0,
        exits: 0,
        total_ns: 0,
        max_ns: 0,
        buckets: vec![0; BUCKETS],
    };
    for value in values.iter().filter(|value| value.len() >= VALUE_BYTES) {
        let mut counts = words(&value[..BUCKETS_AT]);
        let mut next = || counts.next().unwrap_or(0);
        sums.entries += next();
        sums.exits += next();
        sums.total_ns += next();
        sums.max_ns = sums.max_ns.max(next());
        if sums.comm.is_empty() {
            sums.comm = comm_text(&value[BUCKETS_AT - COMM_BYTES..BUCKETS_AT]);
        }
        for (bucket, count) in sums.buckets.iter_mut().zip(words(&value[BUCKETS_AT..])) {
            *bucket += count;
        }
    }
    sums
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes
        .chunks_exact(size_of::<u64>())
        .filter_map(|bytes| bytes.first_chunk())
        .map(|eight| u64::from_ne_bytes(*eight))
}

fn difference(told: Option<&Sums>, now: &Sums, function: u32, pid: u32) -> NewCalls {
    let before = |member: fn(&Sums) -> u64| told.map_or(0, member);
    let counted = |bucket: usize| now.buckets[bucket] - told.map_or(0, |told| told.buckets[bucket]);
    let buckets: Vec<_> = (0..BUCKETS)
        .map(|bucket| (bucket, counted(bucket)))
        .filter(|(_, count)| *count > 0)
        .collect();
    let is_longest = now.max_ns > before(|told| told.max_ns);
    let highest = buckets.last().map_or(0, |(bucket, _)| range(*bucket).1 - 1);
    NewCalls {
        function,
        pid,
        comm: now.comm.clone(),
        entries: now.entries - before(|told| told.entries),
        exits: now.exits - before(|told| told.exits),
        total_ns: now.total_ns - before(|told| told.total_ns),
        max_ns: if is_longest {
            now.max_ns
        } else {
            highest.min(now.max_ns)
        },
        latencies: buckets
            .into_iter()
            .map(|(bucket, count)| (middle(bucket), count))
            .collect(),
    }
}

/// The shortest latency of a bucket, and the one behind its longest.
fn range(bucket: usize) -> (u64, u64) {
    let (octave, step) = (
        (bucket >> STEPS) as u32,
        (bucket & ((1 << STEPS) - 1)) as u64,
    );
    if octave == 0 {
        return (step, step + 1);
    }
    let width = 1u64 << (octave - 1);
    let lowest = ((1 << STEPS) + step) * width;
    (lowest, lowest + width)
}

fn middle(bucket: usize) -> u64 {
    let (lowest, behind) = range(bucket);
    lowest + (behind - lowest) / 2
}

#[cfg(test)]
mod tests {
    use super::{BUCKETS, add_up, difference, middle, range};

    fn value(entries: u64, exits: u64, max_ns: u64, bucket: usize, count: u64) -> Vec<u8> {
        let mut buckets = vec![0u64; BUCKETS];
        buckets[bucket] = count;
        let sums = [entries, exits, exits * 10, max_ns];
        let bytes = |words: &[u64]| words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let parts: [Vec<u8>; 3] = [
            bytes(&sums),
            b"name\0\0\0\0\0\0\0\0\0\0\0\0".to_vec(),
            bytes(&buckets),
        ];
        parts.concat()
    }

    #[test]
    fn buckets_follow_each_other_and_double_every_eight() {
        for bucket in 1..BUCKETS {
            assert_eq!(range(bucket).0, range(bucket - 1).1);
        }
        assert_eq!(range(8), (8, 9));
        assert_eq!(range(16), (16, 18));
        assert_eq!(range(8 * 8), (1024, 1024 + 128));
        assert!(range(BUCKETS - 1).1 > 137_000_000_000);
        assert_eq!(middle(8 * 8), 1024 + 64);
    }

    #[test]
    fn only_what_is_new_is_told() {
        let first = add_up(&[value(3, 2, 70, 30, 2), value(1, 1, 90, 31, 1)]);
        let new = difference(None, &first, 1, 2);
        assert_eq!(
            (new.entries, new.exits, new.total_ns, new.max_ns),
            (4, 3, 30, 90)
        );
        assert_eq!(new.latencies, [(middle(30), 2), (middle(31), 1)]);
        assert_eq!(new.comm, "name");
        let second = add_up(&[value(5, 4, 70, 30, 4), value(1, 1, 90, 31, 1)]);
        let new = difference(Some(&first), &second, 1, 2);
        assert_eq!((new.entries, new.exits), (2, 2));
        assert_eq!(new.latencies, [(middle(30), 2)]);
        assert_eq!(new.max_ns, range(30).1 - 1);
    }
}
