//! The stack tracer: samples of stacks, counted and named.
//!
//! The kernel takes a sample with its stack ([`record`]), [`collect`] counts equal ones, [`report`] names them once an
//! interval is over. [`StackSession`] owns what is in the kernel.

mod collect;
mod drain;
mod perf;
mod plan;
pub mod record;
mod report;
pub mod settings;
mod threads;
pub mod trial;

use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use libbpf_rs::{Link, MapHandle, Object, OpenObject};

use crate::clock;
use crate::error::{Error, ErrorKind, Result};
use crate::layout;
use crate::losses::read_counters;
use crate::object::{self, CgroupId, map_handle};
use crate::plan::PlannedHook;
use crate::targets::Targets;
use crate::unwind::tables::Tables;
use drain::{KernelTables, Pace, Shared, Threads};
use record::Sample;
pub use settings::StackSettings;
use threads::WatchedThreads;

const CANNOT_LOAD: &str = "cannot load the stack tracer into the kernel";

/// The places of `enum loss_place` that this tracer counts in.
const LOSS_PLACES: [&str; 2] = ["ring_full", "targets"];

/// What came since the last tick.
pub struct StackTick {
    /// `profile` events, only where there are some.
    pub profile: Option<RecordBatch>,
    /// (place, count), only where something was lost.
    pub losses: Vec<(&'static str, u64)>,
    /// (what, count since the start).
    pub hits: Vec<(&'static str, u64)>,
    /// Everything that was sampled before this Unix time is in this or an earlier tick.
    pub complete_until_ns: i64,
}

/// A session; nothing is loaded before [`StackSession::attach`].
pub struct StackSession {
    settings: StackSettings,
    plan: Vec<PlannedHook>,
    running: Option<Running>,
    /// What was sampled stays readable after the programs are gone.
    shared: Arc<Shared>,
    losses: Option<Losses>,
}

/// Everything that keeps programs in the kernel; dropping it detaches them.
struct Running {
    targets: Targets,
    watched: Option<WatchedThreads>,
    threads: Threads,
    /// Before `object`: links go first.
    links: Vec<Link>,
    object: Object,
}

struct Losses {
    map: MapHandle,
    told: [u64; LOSS_PLACES.len()],
}

impl StackSession {
    /// Plans on the running kernel and checks the object; attaches nothing.
    ///
    /// # Errors
    /// Where the kernel lacks a hook, or the object is not this version's.
    pub fn new(settings: StackSettings) -> Result<Self> {
        let plan = plan::plan(
            settings.filter.enabled,
            settings.off_cpu,
            sampler(&settings),
        )?;
        layout::check(&settings.object_path, &[Sample::layout()])?;
        Ok(Self {
            settings,
            plan,
            running: None,
            shared: Arc::default(),
            losses: None,
        })
    }

    /// The hooks, those of targets last.
    pub fn plan(&self) -> &[PlannedHook] {
        &self.plan
    }

    /// Loads, adds the targets, attaches every planned hook and starts to drain.
    ///
    /// # Errors
    /// Where the kernel refuses, or a target is gone; nothing stays attached then.
    pub fn attach(&mut self) -> Result<()> {
        let object = object::load(open(&self.settings)?, &self.plan, CANNOT_LOAD)?;
        let targets = Targets::new(map_handle(&object, "targets")?);
        self.settings.filter.fill(&object)?;
        let links = self.attach_tracepoints(&object)?;
        for &pid in &self.settings.filter.pids {
            targets.add(pid)?;
        }
        self.losses = Some(Losses {
            map: map_handle(&object, "losses")?,
            told: [0; LOSS_PLACES.len()],
        });
        let watched = self.watch_threads(&object, &targets)?;
        let threads = self.start_threads(&object, &targets)?;
        let running = self.running.insert(Running {
            targets,
            watched,
            threads,
            links,
            object,
        });
        let samplers = perf::attach(
            &running.object,
            sampler(&self.settings),
            self.settings.frequency_hz,
        );
        match samplers {
            Ok(samplers) => running.links.extend(samplers),
            Err(error) => {
                // the first error is the one to tell
                let _ = self.stop();
                return Err(error);
            }
        }
        Ok(())
    }

    /// Samples `pid` and its descendants from now on.
    ///
    /// # Errors
    /// Where there is no such process, or no room for one more.
    pub fn add_target(&self, pid: u32) -> Result<()> {
        let running = self.running.as_ref().ok_or_else(not_attached)?;
        running.targets.add(pid)?;
        if let Some(watched) = &running.watched {
            for pid in running.targets.alive() {
                watched.watch(pid);
            }
        }
        Ok(())
    }

    /// Samples who is born into the group, or moves there, from now on.
    ///
    /// # Errors
    /// Where there is no room for one more.
    pub fn add_cgroup(&self, group: CgroupId) -> Result<()> {
        let running = self.running.as_ref().ok_or_else(not_attached)?;
        object::add_cgroup(&running.object, group)
    }

    /// Targets that still run.
    pub fn live_targets(&self) -> Vec<u32> {
        self.running
            .as_ref()
            .map(|running| running.targets.alive())
            .unwrap_or_default()
    }

    /// Waits up to `wait` for what came since the last tick.
    ///
    /// # Errors
    /// Where the kernel's counters cannot be read.
    pub fn tick(&mut self, wait: Duration) -> Result<StackTick> {
        let profile = self.shared.take(wait);
        let losses = self.losses.as_mut().ok_or_else(not_attached)?.read()?;
        let complete_ns = self.shared.complete_ns().cast_signed();
        Ok(StackTick {
            profile,
            losses,
            hits: vec![("samples", self.shared.samples())],
            complete_until_ns: complete_ns + clock::unix_minus_monotonic_ns(),
        })
    }

    /// Detaches, empties the ring and names the rest; a last [`StackSession::tick`] returns it.
    ///
    /// # Errors
    /// Where a thread of the session has failed.
    pub fn stop(&mut self) -> Result<()> {
        let Some(running) = self.running.take() else {
            return Ok(());
        };
        drop(running.links);
        self.shared.request_stop();
        let result = running.threads.join();
        drop(running.object);
        result
    }

    /// The hooks that follow targets come first, so that no child is missed.
    fn attach_tracepoints(&self, object: &Object) -> Result<Vec<Link>> {
        self.plan
            .iter()
            .rev()
            .filter(|hook| !plan::is_sampler(hook))
            .map(|hook| object::attach(object, hook))
            .collect()
    }

    /// With waits to measure: the threads that there are.
    fn watch_threads(&self, object: &Object, targets: &Targets) -> Result<Option<WatchedThreads>> {
        if !self.settings.off_cpu {
            return Ok(None);
        }
        let map = map_handle(object, "watched_threads")?;
        let watched = WatchedThreads::new(map, self.settings.filter.self_pid);
        if self.settings.filter.enabled {
            targets
                .alive()
                .into_iter()
                .for_each(|pid| watched.watch(pid));
        } else {
            watched.watch_all();
        }
        Ok(Some(watched))
    }

    fn start_threads(&self, object: &Object, targets: &Targets) -> Result<Threads> {
        let tables = KernelTables {
            ring: map_handle(object, "samples")?,
            known: map_handle(object, "known_processes")?,
            unwind: Tables::start(object, self.settings.by_tables)?,
        };
        let pace = Pace {
            period_ns: self.settings.period_ns(),
            interval: self.settings.interval,
            stacks_held: self.settings.stacks_held,
        };
        Threads::start(&self.shared, tables, pace, targets.alive())
    }
}

/// The program that takes samples as the settings ask for.
fn sampler(settings: &StackSettings) -> &'static str {
    if settings.by_tables {
        plan::SAMPLER
    } else {
        plan::SAMPLER_BY_FRAME_POINTERS
    }
}

/// The object as a run loads it.
fn open(settings: &StackSettings) -> Result<OpenObject> {
    let mut open = object::open(&settings.object_path, CANNOT_LOAD)?;
    object::set_settings(&mut open, &settings.to_bytes())?;
    object::set_map_size(&mut open, "samples", settings.ring_bytes)?;
    if !settings.off_cpu {
        object::set_map_size(&mut open, "watched_threads", 1)?;
    }
    Ok(open)
}

impl Drop for StackSession {
    fn drop(&mut self) {
        // an error was told by stop(), or nobody asks any more
        let _ = self.stop();
    }
}

impl Losses {
    fn read(&mut self) -> Result<Vec<(&'static str, u64)>> {
        let now = read_counters(&self.map, &LOSS_PLACES)?;
        let new = LOSS_PLACES
            .into_iter()
            .zip(now.iter().zip(&self.told).map(|(now, told)| now - told));
        let losses = new.filter(|(_, count)| *count > 0).collect();
        self.told = now;
        Ok(losses)
    }
}

fn not_attached() -> Error {
    Error::new(
        ErrorKind::Failed,
        "the session is not attached",
        "attach() was not called or failed",
        "call attach() first",
    )
}
