//! The unwind tables in the kernel: compiled by a worker on first need, within a budget of memory.

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use libbpf_rs::{MapCore, MapFlags, MapHandle, MapType, Object};

use super::compile::{Row, compile, find};
use super::elf::{self, Layout};
use super::rules::{Rule, Step};
use super::walk::Found;
use crate::error::{Error, ErrorKind, Result};
use crate::object::map_handle;
use crate::symbolize::{Backing, Image, ObjectFile};

const ROWS_PER_CHUNK: usize = 512;
const CHUNK_BYTES: usize = ROWS_PER_CHUNK * 8;
const MAX_CHUNKS: usize = 1 << 14;
const MAX_OBJECTS: u32 = 8192;
const MAX_RULES: usize = 65_536;
const MAPPING_BYTES: usize = 32;
const BPF_F_INNER_MAP: u32 = 1 << 12;
/// `enum object_state`.
const STATE_WAITING: u32 = 0;
const STATE_TABLE: u32 = 1;
const STATE_FRAME_POINTERS: u32 = 2;
/// The object of code that no file is behind: it is followed by frame pointers.
const NO_FILE: u32 = 0;
/// The rows' budget in the kernel.
const BUDGET_BYTES: usize = 64 << 20;
/// Of those that are kept here as well.
const KEPT_BYTES: usize = 24 << 20;

/// What is sent to the worker.
struct Job {
    number: u32,
    object: Arc<ObjectFile>,
    base: u64,
}

/// An object that the kernel has a number for.
struct Known {
    number: u32,
    layout: Option<Layout>,
}

/// The reader's side: gives processes and objects to the kernel.
pub(crate) struct Tables {
    processes: MapHandle,
    objects: HashMap<u32, Known>,
    next_number: u32,
    jobs: Sender<Job>,
    open_jobs: Arc<OpenJobs>,
    compiled: Arc<Compiled>,
    use_tables: bool,
}

/// What the worker has compiled, for walks that go on outside of the kernel.
#[derive(Default)]
struct Compiled {
    /// By the object's number; without rows: it has no table.
    objects: Mutex<HashMap<u32, Option<Arc<[Row]>>>>,
}

impl Compiled {
    fn find(&self, number: u32, pc: u64) -> Found {
        let objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        match objects.get(&number) {
            None => Found::NoTable,
            Some(None) => Found::FramePointers,
            Some(Some(rows)) => {
                Found::Step(u32::try_from(pc).map_or(Step::None, |pc| find(rows, pc)))
            }
        }
    }

    /// Keeps an object's rows; others go where there is no room.
    fn keep(&self, number: u32, rows: Option<Arc<[Row]>>) {
        let size = |rows: &Option<Arc<[Row]>>| rows.as_deref().map_or(0, size_of_val);
        let mut objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = size(&rows) + objects.values().map(size).sum::<usize>();
        objects.retain(|_, held| {
            let goes = bytes > KEPT_BYTES && held.is_some();
            bytes -= if goes { size(held) } else { 0 };
            !goes
        });
        if bytes <= KEPT_BYTES {
            objects.insert(number, rows);
        }
    }
}

/// Jobs that are not done yet.
#[derive(Default)]
struct OpenJobs {
    count: Mutex<usize>,
    done: Condvar,
}

impl OpenJobs {
    fn add(&self, more: isize) {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        *count = count.saturating_add_signed(more);
        drop(count);
        self.done.notify_all();
    }

    fn wait(&self, patience: Duration) {
        let count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = self
            .done
            .wait_timeout_while(count, patience, |count| *count > 0);
    }
}

impl Tables {
    /// Starts the worker, which ends with the tables. Without `use_tables` everything follows frame pointers.
    pub(crate) fn start(object: &Object, use_tables: bool) -> Result<Self> {
        let (jobs, waiting) = channel();
        let open_jobs = Arc::new(OpenJobs::default());
        let compiled = Arc::new(Compiled::default());
        let worker = Worker {
            tables: map_handle(object, "unwind_tables")?,
            objects: map_handle(object, "unwind_objects")?,
            rules: map_handle(object, "unwind_rules")?,
            numbers: HashMap::new(),
            held: Vec::new(),
            open_jobs: Arc::clone(&open_jobs),
            compiled: Arc::clone(&compiled),
        };
        worker.set_state(NO_FILE, STATE_FRAME_POINTERS, 0)?;
        std::thread::Builder::new()
            .name("ut-unwind".to_owned())
            .spawn(move || worker.run(&waiting))
            .map_err(|error| failed("cannot start a thread", error))?;
        Ok(Self {
            processes: map_handle(object, "process_mappings")?,
            objects: HashMap::new(),
            next_number: NO_FILE + 1,
            jobs,
            open_jobs,
            compiled,
            use_tables,
        })
    }

    /// Waits for the tables of what was given so far.
    pub(crate) fn settle(&self, patience: Duration) {
        self.open_jobs.wait(patience);
    }

    /// Gives a process's mappings to the kernel. What does not succeed leaves its stacks incomplete, marked as such.
    pub(crate) fn give(&mut self, image: &Image) {
        if !self.use_tables {
            return;
        }
        let mappings: Vec<_> = image
            .mappings
            .iter()
            .map(|mapping| {
                let (number, bias) = match &mapping.backing {
                    Backing::File(object) | Backing::Vdso(object) => {
                        self.place(object, mapping.start, mapping.offset)
                    }
                    Backing::Anonymous => (NO_FILE, 0),
                };
                (mapping.start, mapping.end, bias, number)
            })
            .collect();
        // the kernel says why where it has no room; there is nobody to tell
        let _ = self.put(image.pid, &mappings);
    }

    /// Compiles the tables of a process that has ended: there is still something to walk.
    pub(crate) fn introduce_all(&mut self, image: &Image) {
        for mapping in &image.mappings {
            if let Backing::File(object) | Backing::Vdso(object) = &mapping.backing {
                self.place(object, mapping.start, mapping.offset);
            }
        }
    }

    /// What is known of the code at an address of a process that was given.
    pub(crate) fn find(&self, image: &Image, pc: u64) -> Found {
        let Some(mapping) = image.find(pc) else {
            return Found::NoMapping;
        };
        let object = match &mapping.backing {
            Backing::File(object) | Backing::Vdso(object) => object,
            Backing::Anonymous => return Found::FramePointers,
        };
        let place = self.objects.get(&object.id).and_then(|known| {
            let bias = known.layout.as_ref()?.bias(mapping.start, mapping.offset)?;
            Some((known.number, bias))
        });
        place.map_or(Found::FramePointers, |(number, bias)| {
            self.compiled.find(number, pc.wrapping_sub(bias))
        })
    }

    /// Forgets a process that has ended.
    pub(crate) fn forget(&self, pid: u32) {
        let _ = self.processes.delete(&pid.to_ne_bytes());
    }

    fn place(&mut self, object: &Arc<ObjectFile>, start: u64, offset: u64) -> (u32, u64) {
        if !self.objects.contains_key(&object.id) {
            let known = self.introduce(object);
            self.objects.insert(object.id, known);
        }
        let known = &self.objects[&object.id];
        known
            .layout
            .as_ref()
            .and_then(|layout| Some((known.number, layout.bias(start, offset)?)))
            .unwrap_or((NO_FILE, 0))
    }

    fn introduce(&mut self, object: &Arc<ObjectFile>) -> Known {
        let layout = object
            .reader()
            .and_then(|reader| elf::layout(&reader))
            .filter(|_| self.next_number < MAX_OBJECTS);
        let number = self.next_number;
        if let Some(layout) = &layout {
            self.next_number += 1;
            self.open_jobs.add(1);
            let job = Job {
                number,
                object: Arc::clone(object),
                base: layout.base,
            };
            if self.jobs.send(job).is_err() {
                self.open_jobs.add(-1);
            }
        }
        Known { number, layout }
    }

    fn put(&self, pid: u32, mappings: &[(u64, u64, u64, u32)]) -> libbpf_rs::Result<()> {
        let entries = u32::try_from(mappings.len() + 1).unwrap_or(u32::MAX);
        let inner = inner_map("ut_mappings", MAPPING_BYTES, entries)?;
        let count = (mappings.len() as u64, 0, 0, 0);
        for (index, mapping) in (0u32..).zip(std::iter::once(&count).chain(mappings)) {
            let (start, end, bias, number) = *mapping;
            let mut value = [0; MAPPING_BYTES];
            value[..8].copy_from_slice(&start.to_ne_bytes());
            value[8..16].copy_from_slice(&end.to_ne_bytes());
            value[16..24].copy_from_slice(&bias.to_ne_bytes());
            value[24..28].copy_from_slice(&number.to_ne_bytes());
            inner.update(&index.to_ne_bytes(), &value, MapFlags::ANY)?;
        }
        let descriptor = inner.as_fd().as_raw_fd().to_ne_bytes();
        self.processes
            .update(&pid.to_ne_bytes(), &descriptor, MapFlags::ANY)
    }
}

/// Compiles, and keeps to the budget.
struct Worker {
    tables: MapHandle,
    objects: MapHandle,
    rules: MapHandle,
    numbers: HashMap<Rule, u32>,
    /// Objects with tables in the kernel: number and bytes, the oldest first.
    held: Vec<(u32, usize)>,
    open_jobs: Arc<OpenJobs>,
    compiled: Arc<Compiled>,
}

impl Worker {
    fn run(mut self, waiting: &Receiver<Job>) {
        while let Ok(job) = waiting.recv() {
            let is_done = self.compile(&job).is_ok_and(|has_rows| has_rows);
            if !is_done {
                let _ = self.set_state(job.number, STATE_FRAME_POINTERS, 0);
                self.compiled.keep(job.number, None);
            }
            self.open_jobs.add(-1);
        }
    }

    /// Whether the object has unwind information.
    fn compile(&mut self, job: &Job) -> Result<bool> {
        let reader = job.object.reader();
        let Some(rows) = reader.and_then(|reader| compile(&reader, job.base)) else {
            return Ok(false);
        };
        let chunks = rows.len().div_ceil(ROWS_PER_CHUNK);
        if chunks > MAX_CHUNKS {
            return Ok(false);
        }
        self.make_room(chunks * CHUNK_BYTES)?;
        let entries = u32::try_from(chunks).unwrap_or(u32::MAX);
        let table = inner_map("ut_rows", CHUNK_BYTES, entries)
            .map_err(|error| failed("cannot make an unwind table", error))?;
        for (index, chunk) in (0u32..).zip(rows.chunks(ROWS_PER_CHUNK)) {
            let bytes = self.chunk_bytes(chunk);
            table
                .update(&index.to_ne_bytes(), &bytes, MapFlags::ANY)
                .map_err(|error| failed("cannot fill an unwind table", error))?;
        }
        let descriptor = table.as_fd().as_raw_fd().to_ne_bytes();
        self.tables
            .update(&job.number.to_ne_bytes(), &descriptor, MapFlags::ANY)
            .map_err(|error| failed("cannot use an unwind table", error))?;
        self.held.push((job.number, chunks * CHUNK_BYTES));
        // last: nobody looks at rows before
        self.set_state(job.number, STATE_TABLE, entries)?;
        self.compiled.keep(job.number, Some(rows.into()));
        Ok(true)
    }

    fn make_room(&mut self, bytes: usize) -> Result<()> {
        while !self.held.is_empty()
            && self.held.iter().map(|(_, held)| held).sum::<usize>() + bytes > BUDGET_BYTES
        {
            let (number, _) = self.held.remove(0);
            self.set_state(number, STATE_WAITING, 0)?;
            let _ = self.tables.delete(&number.to_ne_bytes());
        }
        Ok(())
    }

    fn set_state(&self, number: u32, state: u32, chunks: u32) -> Result<()> {
        let mut value = [0; 8];
        value[..4].copy_from_slice(&state.to_ne_bytes());
        value[4..].copy_from_slice(&chunks.to_ne_bytes());
        self.objects
            .update(&number.to_ne_bytes(), &value, MapFlags::ANY)
            .map_err(|error| failed("cannot tell the kernel of an object", error))
    }

    fn chunk_bytes(&mut self, rows: &[Row]) -> Vec<u8> {
        // behind the last row: never at or below a pc that is looked for
        let mut bytes = vec![0xff; CHUNK_BYTES];
        for (place, row) in bytes.chunks_exact_mut(8).zip(rows) {
            let number = self.number(row.step);
            place[..4].copy_from_slice(&row.pc.to_ne_bytes());
            place[4..].copy_from_slice(&number.to_ne_bytes());
        }
        bytes
    }

    /// `enum unwind_command`, or the index of a rule.
    fn number(&mut self, step: Step) -> u32 {
        match step {
            Step::None => u32::MAX,
            Step::Stop => u32::MAX - 1,
            Step::Signal => u32::MAX - 2,
            Step::Unknown => u32::MAX - 3,
            Step::Rule(rule) => self.rule_number(rule),
        }
    }

    fn rule_number(&mut self, rule: Rule) -> u32 {
        if let Some(number) = self.numbers.get(&rule) {
            return *number;
        }
        let number = self.numbers.len();
        let key = u32::try_from(number).unwrap_or(u32::MAX);
        let is_in = number < MAX_RULES
            && self
                .rules
                .update(&key.to_ne_bytes(), &rule.to_bytes(), MapFlags::ANY)
                .is_ok();
        if !is_in {
            return u32::MAX - 3;
        }
        self.numbers.insert(rule, key);
        key
    }
}

fn inner_map(name: &str, value_bytes: usize, entries: u32) -> libbpf_rs::Result<MapHandle> {
    let options = libbpf_rs::libbpf_sys::bpf_map_create_opts {
        sz: size_of::<libbpf_rs::libbpf_sys::bpf_map_create_opts>() as _,
        map_flags: BPF_F_INNER_MAP,
        ..Default::default()
    };
    MapHandle::create(
        MapType::Array,
        Some(name),
        size_of::<u32>() as u32,
        value_bytes as u32,
        entries,
        &options,
    )
}

fn failed(what: &str, cause: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Failed, what, cause, "run again with -v")
}
