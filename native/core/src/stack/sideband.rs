//! What the kernel tells of programs as they are started, mapped and forked: for processes that have ended before
//! anybody could look at them.
//!
//! A perf event per CPU that counts nothing, and its ring (`perf_event_open(2)`: `PERF_RECORD_MMAP2` and others).

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use super::perf::{ANY_PROCESS, Attribute, online_cpus, open_event};
use crate::symbolize::Region;

const PERF_COUNT_SW_DUMMY: u64 = 9;
const SAMPLE_TID: u64 = 1 << 1;
const SAMPLE_TIME: u64 = 1 << 2;
/// Executable mappings, commands, processes, programs started; with thread and time at each record's end.
const FLAGS: u64 = 1 << 8 | 1 << 9 | 1 << 13 | 1 << 18 | 1 << 23 | 1 << 24 | 1 << 25;

/// Bytes of a ring, a power of two.
const RING_BYTES: usize = 128 << 10;
/// `data_head`, `data_tail` of `struct perf_event_mmap_page`.
const HEAD_AT: usize = 1024;
const TAIL_AT: usize = 1032;

const RECORD_COMM: u32 = 3;
const RECORD_EXIT: u32 = 4;
const RECORD_FORK: u32 = 7;
const RECORD_MMAP2: u32 = 10;
const MISC_COMM_EXEC: u16 = 1 << 13;
/// Bytes of `struct perf_event_header`; of thread and time at the end.
const HEADER_BYTES: usize = 8;
const TRAILER_BYTES: usize = 16;

const MOST_PROCESSES: usize = 8192;
const MOST_REGIONS: usize = 1024;
/// Of all processes together: what a machine with thousands of them has.
const MOST_REGIONS_IN_ALL: usize = 100_000;
/// Programs that a process was one after the other.
const MOST_PROGRAMS: usize = 4;
const MOST_GENERATIONS: usize = 16;
/// How long a process that has ended is remembered: its samples are taken long before.
const REMEMBERED_NS: u64 = 5_000_000_000;

/// What is known of a process's program.
pub(crate) enum Heard<'a, I: Iterator<Item = Region<'a>>> {
    Program(I),
    /// It runs the program of a process that is older than the tracer.
    ForkOf(u32),
}

/// All that was told, by process.
pub(crate) struct Sideband {
    rings: Vec<Ring>,
    processes: HashMap<u32, Process, ahash::RandomState>,
    /// At least as many as there are; counted anew by each sweep.
    regions: usize,
    latest_ns: u64,
    swept_ns: u64,
}

#[derive(Default)]
struct Process {
    parent: Option<u32>,
    programs: Vec<Program>,
    ended_ns: Option<u64>,
}

struct Program {
    since_ns: u64,
    regions: Vec<Told>,
}

/// An executable mapping.
struct Told {
    start: u64,
    end: u64,
    offset: u64,
    device: String,
    inode: u64,
    path: String,
}

impl Told {
    fn region(&self) -> Region<'_> {
        Region {
            start: self.start,
            end: self.end,
            is_executable: true,
            offset: self.offset,
            device: &self.device,
            inode: self.inode,
            path: &self.path,
        }
    }
}

impl Sideband {
    /// `None` where the kernel does not allow it: then such processes stay unknown.
    pub(crate) fn open() -> Option<Self> {
        let cpus = online_cpus().ok()?;
        let rings = cpus.into_iter().map(Ring::open).collect::<io::Result<_>>();
        Some(Self::of(rings.ok()?))
    }

    fn of(rings: Vec<Ring>) -> Self {
        Self {
            rings,
            processes: HashMap::default(),
            regions: 0,
            latest_ns: 0,
            swept_ns: 0,
        }
    }

    /// Takes in everything that was told so far.
    pub(crate) fn hear(&mut self) {
        let mut records = Vec::new();
        for ring in &mut self.rings {
            ring.drain(|bytes| records.extend(Record::parse(bytes)));
        }
        // what happened to a process may be in the rings of several CPUs
        records.sort_by_key(|record| record.time_ns);
        for record in records {
            self.latest_ns = self.latest_ns.max(record.time_ns);
            self.take(record);
        }
        self.sweep();
    }

    /// What `pid` ran at a CLOCK_MONOTONIC time.
    pub(crate) fn program(
        &self,
        pid: u32,
        time_ns: u64,
    ) -> Option<Heard<'_, impl Iterator<Item = Region<'_>>>> {
        let mut pid = pid;
        for _ in 0..MOST_GENERATIONS {
            let Some(process) = self.processes.get(&pid) else {
                return Some(Heard::ForkOf(pid));
            };
            let is_then = |program: &&Program| program.since_ns <= time_ns;
            if let Some(program) = process.programs.iter().rfind(is_then) {
                return Some(Heard::Program(program.regions.iter().map(Told::region)));
            }
            pid = process.parent?;
        }
        None
    }

    fn take(&mut self, record: Record) {
        match record.what {
            What::Exec => self.process(record.pid).start(record.time_ns),
            What::Mapped(told) => {
                // the program of one that is older is read from /proc
                if let Some(process) = self.processes.get_mut(&record.pid) {
                    process.map(told);
                    self.regions += 1;
                    if self.regions > MOST_REGIONS_IN_ALL {
                        self.sweep();
                    }
                }
            }
            What::Forked { parent } => {
                let process = self.process(record.pid);
                *process = Process {
                    parent: Some(parent),
                    ..Process::default()
                };
            }
            What::Ended => {
                if let Some(process) = self.processes.get_mut(&record.pid) {
                    process.ended_ns = Some(record.time_ns);
                }
            }
        }
    }

    fn process(&mut self, pid: u32) -> &mut Process {
        self.processes.entry(pid).or_default()
    }

    fn sweep(&mut self) {
        let is_due = self.latest_ns > self.swept_ns + REMEMBERED_NS;
        if !is_due && !self.is_full() {
            return;
        }
        self.swept_ns = self.latest_ns;
        let too_old = self.latest_ns.saturating_sub(REMEMBERED_NS);
        self.processes
            .retain(|_, process| process.ended_ns.is_none_or(|ended_ns| ended_ns > too_old));
        self.count_regions();
        if self.is_full() {
            self.processes
                .retain(|_, process| process.ended_ns.is_none());
            self.count_regions();
        }
        if self.is_full() {
            self.processes.clear();
            self.regions = 0;
        }
    }

    fn is_full(&self) -> bool {
        self.processes.len() > MOST_PROCESSES || self.regions > MOST_REGIONS_IN_ALL
    }

    fn count_regions(&mut self) {
        self.regions = self.processes.values().map(Process::regions).sum();
    }
}

impl Process {
    fn regions(&self) -> usize {
        self.programs
            .iter()
            .map(|program| program.regions.len())
            .sum()
    }

    fn start(&mut self, since_ns: u64) {
        if self.programs.len() >= MOST_PROGRAMS {
            self.programs.remove(0);
        }
        self.programs.push(Program {
            since_ns,
            regions: Vec::new(),
        });
    }

    /// A newer mapping replaces what it covers.
    fn map(&mut self, told: Told) {
        let Some(Program { regions, .. }) = self.programs.last_mut() else {
            return;
        };
        regions.retain(|region| region.end <= told.start || region.start >= told.end);
        if regions.len() < MOST_REGIONS {
            let place = regions.partition_point(|region| region.start < told.start);
            regions.insert(place, told);
        }
    }
}

/// One thing that was told.
struct Record {
    pid: u32,
    time_ns: u64,
    what: What,
}

enum What {
    Exec,
    Mapped(Told),
    Forked { parent: u32 },
    Ended,
}

impl Record {
    /// `None`: of no interest, or shorter than it should be.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (kind, misc) = (word32(bytes, 0)?, word32(bytes, 4)? as u16);
        let (body, trailer) = bytes
            .get(HEADER_BYTES..)?
            .split_at_checked(bytes.len().checked_sub(HEADER_BYTES + TRAILER_BYTES)?)?;
        let pid = word32(body, 0)?;
        let what = match kind {
            RECORD_COMM if misc & MISC_COMM_EXEC != 0 => What::Exec,
            RECORD_MMAP2 => What::Mapped(mapped(body)?),
            // pid, the parent's pid, tid, the parent's tid: of threads the first two are the same
            RECORD_FORK if word32(body, 4)? != pid => What::Forked {
                parent: word32(body, 4)?,
            },
            RECORD_EXIT if word32(body, 8)? == pid => What::Ended,
            _ => return None,
        };
        Some(Self {
            pid,
            time_ns: word64(trailer, 8)?,
            what,
        })
    }
}

fn mapped(body: &[u8]) -> Option<Told> {
    let start = word64(body, 8)?;
    let name = body.get(64..)?;
    let name = &name[..memchr::memchr(0, name).unwrap_or(name.len())];
    Some(Told {
        start,
        end: start.checked_add(word64(body, 16)?)?,
        offset: word64(body, 24)?,
        device: format!("{:02x}:{:02x}", word32(body, 32)?, word32(body, 36)?),
        inode: word64(body, 40)?,
        path: String::from_utf8_lossy(name).into_owned(),
    })
}

fn word32(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_ne_bytes(four))
}

fn word64(bytes: &[u8], at: usize) -> Option<u64> {
    let eight = bytes.get(at..at + 8)?.try_into().ok()?;
    Some(u64::from_ne_bytes(eight))
}

/// One CPU's ring, mapped.
struct Ring {
    /// A page of control and [`RING_BYTES`] of records.
    memory: NonNull<u8>,
    page_bytes: usize,
    _event: OwnedFd,
}

// SAFETY: the mapping belongs to this value alone and is as good in any thread.
unsafe impl Send for Ring {}

impl Ring {
    fn open(cpu: u32) -> io::Result<Self> {
        let attribute = Attribute {
            config: PERF_COUNT_SW_DUMMY,
            sample_type: SAMPLE_TID | SAMPLE_TIME,
            flags: FLAGS,
            clock: libc::CLOCK_MONOTONIC,
            ..Attribute::default()
        };
        let event = open_event(&attribute, ANY_PROCESS, cpu.cast_signed())?;
        // SAFETY: the call has no preconditions.
        let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        let page_bytes = usize::try_from(page_bytes).unwrap_or(4096);
        // SAFETY: a new mapping at a place of the kernel's choice.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                page_bytes + RING_BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                event.as_raw_fd(),
                0,
            )
        };
        let mapped = NonNull::new(memory.cast()).filter(|_| memory != libc::MAP_FAILED);
        Ok(Self {
            memory: mapped.ok_or_else(io::Error::last_os_error)?,
            page_bytes,
            _event: event,
        })
    }

    fn drain(&mut self, mut take: impl FnMut(&[u8])) {
        let head = self.control(HEAD_AT).load(Ordering::Acquire);
        let mut tail = self.control(TAIL_AT).load(Ordering::Relaxed);
        let mut bytes = Vec::new();
        while tail < head {
            self.copy(tail, HEADER_BYTES, &mut bytes);
            let size = word32(&bytes, 4).map_or(0, |word| word >> 16) as usize;
            if size < HEADER_BYTES || tail + size as u64 > head {
                tail = head; // never, but for a kernel's bug
                break;
            }
            self.copy(tail, size, &mut bytes);
            take(&bytes);
            tail += size as u64;
        }
        self.control(TAIL_AT).store(tail, Ordering::Release);
    }

    fn control(&self, at: usize) -> &AtomicU64 {
        // SAFETY: within the first page of the mapping, aligned, and shared with the kernel as an atomic.
        unsafe { self.memory.add(at).cast().as_ref() }
    }

    /// Copies `length` bytes of records from a position that counts on for ever.
    fn copy(&self, position: u64, length: usize, to: &mut Vec<u8>) {
        let from = (position % RING_BYTES as u64) as usize;
        let first = length.min(RING_BYTES - from);
        to.clear();
        // SAFETY: both parts are within the mapping; the kernel writes only beyond `data_tail` + RING_BYTES.
        unsafe {
            let records = self.memory.add(self.page_bytes);
            to.extend_from_slice(std::slice::from_raw_parts(
                records.add(from).as_ptr(),
                first,
            ));
            to.extend_from_slice(std::slice::from_raw_parts(records.as_ptr(), length - first));
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's, and nobody uses it any more.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), self.page_bytes + RING_BYTES) };
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Heard, MISC_COMM_EXEC, RECORD_COMM, RECORD_EXIT, RECORD_FORK, RECORD_MMAP2, Record,
        Sideband,
    };

    fn record(kind: u32, misc: u16, pid: u32, time_ns: u64, rest: &[u8]) -> Vec<u8> {
        let size = (8 + 4 + rest.len() + 16) as u16;
        let mut bytes = kind.to_ne_bytes().to_vec();
        bytes.extend(misc.to_ne_bytes());
        bytes.extend(size.to_ne_bytes());
        bytes.extend(pid.to_ne_bytes());
        bytes.extend(rest);
        bytes.extend([0; 8]);
        bytes.extend(time_ns.to_ne_bytes());
        bytes
    }

    fn exec(pid: u32, time_ns: u64) -> Vec<u8> {
        record(RECORD_COMM, MISC_COMM_EXEC, pid, time_ns, &[0; 12])
    }

    fn mmap(pid: u32, time_ns: u64, start: u64, bytes: u64, path: &str) -> Vec<u8> {
        let mut rest = pid.to_ne_bytes().to_vec();
        for word in [start, bytes, 0x1000, 8 | 1 << 32, 77, 0] {
            rest.extend(word.to_ne_bytes());
        }
        rest.extend([0; 8]);
        rest.extend(path.as_bytes());
        rest.resize(rest.len().next_multiple_of(8) + 4, 0);
        record(RECORD_MMAP2, 0, pid, time_ns, &rest)
    }

    fn fork(pid: u32, parent: u32, time_ns: u64) -> Vec<u8> {
        let rest: Vec<u8> = [parent, pid, parent, 0, 0]
            .iter()
            .flat_map(|word| word.to_ne_bytes())
            .collect();
        record(RECORD_FORK, 0, pid, time_ns, &rest)
    }

    fn exit(pid: u32, tid: u32, time_ns: u64) -> Vec<u8> {
        let rest: Vec<u8> = [1, tid, 1, 0, 0]
            .iter()
            .flat_map(|word| word.to_ne_bytes())
            .collect();
        record(RECORD_EXIT, 0, pid, time_ns, &rest)
    }

    fn heard(records: &[Vec<u8>]) -> Sideband {
        let mut sideband = Sideband::of(Vec::new());
        for bytes in records {
            let record = Record::parse(bytes).expect("a whole record of interest");
            sideband.latest_ns = record.time_ns;
            sideband.take(record);
        }
        sideband
    }

    fn paths(sideband: &Sideband, pid: u32, time_ns: u64) -> String {
        match sideband.program(pid, time_ns) {
            Some(Heard::Program(regions)) => regions
                .map(|region| format!("{} {:x}", region.path, region.start))
                .collect::<Vec<_>>()
                .join(", "),
            Some(Heard::ForkOf(parent)) => format!("fork of {parent}"),
            None => "nothing".to_owned(),
        }
    }

    #[test]
    fn a_process_is_what_it_was_at_that_time() {
        let sideband = heard(&[
            exec(5, 100),
            mmap(5, 110, 0x4000, 0x1000, "/bin/sh"),
            mmap(5, 120, 0x1000, 0x1000, "/lib/libc.so"),
            exec(5, 200),
            mmap(5, 210, 0x9000, 0x1000, "/bin/ls"),
        ]);
        assert_eq!(paths(&sideband, 5, 150), "/lib/libc.so 1000, /bin/sh 4000");
        assert_eq!(paths(&sideband, 5, 300), "/bin/ls 9000");
        assert_eq!(paths(&sideband, 5, 50), "nothing");
        let Some(Heard::Program(mut regions)) = sideband.program(5, 300) else {
            panic!("it is known")
        };
        let region = regions.next().expect("one");
        assert_eq!(
            (region.device, region.inode, region.offset),
            ("08:01", 77, 0x1000)
        );
    }

    #[test]
    fn a_child_is_what_its_parent_was() {
        let sideband = heard(&[
            exec(5, 100),
            mmap(5, 110, 0x4000, 0x1000, "/bin/sh"),
            fork(6, 5, 150),
            fork(7, 6, 160),
            fork(9, 8, 170),
        ]);
        assert_eq!(paths(&sideband, 7, 200), "/bin/sh 4000");
        assert_eq!(paths(&sideband, 9, 200), "fork of 8");
    }

    #[test]
    fn a_newer_mapping_replaces_what_it_covers() {
        let sideband = heard(&[
            exec(5, 100),
            mmap(5, 110, 0x4000, 0x3000, "/old"),
            mmap(5, 120, 0x6000, 0x1000, "/new"),
        ]);
        assert_eq!(paths(&sideband, 5, 200), "/new 6000");
    }

    #[test]
    fn who_has_ended_is_forgotten_after_a_while() {
        let mut sideband = heard(&[
            exec(5, 100),
            mmap(5, 110, 0x4000, 0x1000, "/a"),
            exit(5, 5, 200),
        ]);
        sideband.sweep();
        assert_eq!(paths(&sideband, 5, 150), "/a 4000");
        sideband.latest_ns = 20_000_000_000;
        sideband.sweep();
        assert_eq!(paths(&sideband, 5, 150), "fork of 5");
    }

    #[test]
    fn all_mappings_together_are_bounded() {
        let mut sideband = Sideband::of(Vec::new());
        let tell = |sideband: &mut Sideband, bytes: &[u8]| {
            sideband.take(Record::parse(bytes).expect("a whole record of interest"));
        };
        for pid in 1..=150 {
            tell(&mut sideband, &exec(pid, 100));
            for page in 1..=1100 {
                tell(&mut sideband, &mmap(pid, 110, page << 12, 0x1000, "/a"));
            }
            let held: usize = sideband
                .processes
                .values()
                .map(super::Process::regions)
                .sum();
            assert!(held <= super::MOST_REGIONS_IN_ALL, "{held}");
        }
        tell(&mut sideband, &exec(999, 120));
        tell(&mut sideband, &mmap(999, 130, 0x1000, 0x1000, "/last"));
        assert_eq!(paths(&sideband, 999, 200), "/last 1000");
    }

    #[test]
    fn what_is_cut_short_or_of_no_interest_is_nothing() {
        let whole = mmap(5, 110, 0x4000, 0x1000, "/a");
        for length in 0..80 {
            assert!(Record::parse(&whole[..length]).is_none());
        }
        for other in [
            record(RECORD_COMM, 0, 5, 1, &[0; 12]),
            fork(5, 5, 1),
            exit(5, 6, 1),
            record(99, 0, 5, 1, &[0; 40]),
        ] {
            assert!(Record::parse(&other).is_none());
        }
    }
}
