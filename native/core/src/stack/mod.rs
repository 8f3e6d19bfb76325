//! The stack tracer: samples of stacks, counted and named.
//!
//! The kernel takes a sample with its stack ([`record`]), [`collect`] counts equal ones, [`report`] names them once an
//! interval is over. [`StackSession`] owns what is in the kernel.

pub(crate) mod collect;
mod drain;
mod on_demand;
pub(crate) mod perf;
mod plan;
pub mod record;
pub(crate) mod report;
mod rests;
pub mod settings;
mod shared;
mod sideband;
mod threads;
pub mod trial;

use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use libbpf_rs::{Link, Object, OpenObject};

use crate::calls::attach::{CallPlan, configure};
use crate::calls::counts::CallCounts;
use crate::calls::record::{Call, Texts};
use crate::calls::report::CallReporter;
use crate::calls::tables;
use crate::clock;
use crate::columns::{CallsRow, calls_table};
use crate::decode::TextMask;
use crate::error::{Error, ErrorKind, Result};
use crate::functions::{Function, resolve};
use crate::layout;
use crate::losses::KernelLosses;
use crate::object::{self, CgroupId, map_handle};
use crate::plan::PlannedHook;
use crate::targets::Targets;
use crate::tracer::{self, HookRow, Session, TickBatches};
use crate::unwind::tables::Tables;
use drain::{KernelTables, Pace, Threads};
use on_demand::Request;
use record::{Rest, Sample};
pub use settings::StackSettings;
use shared::Shared;
use threads::WatchedThreads;

/// MAX_OPEN_CALLS of `bpf/include/call_state.h`.
const MOST_OPEN_CALLS: u32 = 65_536;
const CANNOT_LOAD: &str = "cannot load the stack tracer into the kernel";

/// A session; nothing is loaded before [`Session::attach`].
pub struct StackSession {
    settings: StackSettings,
    plan: Vec<PlannedHook>,
    functions: Arc<[Function]>,
    calls: CallPlan,
    running: Option<Running>,
    /// What was sampled stays readable after the programs are gone.
    shared: Arc<Shared>,
    losses: Option<KernelLosses>,
    counts: Option<CallCounts>,
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

impl StackSession {
    /// Plans on the running kernel and checks the object; attaches nothing.
    ///
    /// # Errors
    /// Where the kernel lacks a hook, or the object is not this version's.
    pub fn new(settings: StackSettings) -> Result<Self> {
        let plan = plan::plan(
            settings.filter.enabled,
            settings.off_cpu,
            settings.samples.then(|| sampler(&settings)),
        )?;
        let layouts = [
            Sample::layout(),
            Rest::layout(),
            Call::layout(),
            Texts::layout(),
        ];
        layout::check(&settings.object_path, &layouts)?;
        let functions: Arc<[Function]> = resolve(&settings.functions, &settings.scope)?.into();
        Ok(Self {
            settings,
            plan,
            calls: CallPlan::new(&functions),
            functions,
            running: None,
            shared: Arc::default(),
            losses: None,
            counts: None,
        })
    }

    /// What the kernel has counted since the last look.
    fn count_calls(&mut self) -> Result<Option<RecordBatch>> {
        let is_last = self.running.is_none();
        let Some(counts) = &mut self.counts else {
            return Ok(None);
        };
        let new = counts.read(is_last)?;
        let rows: Vec<_> = new
            .iter()
            .filter_map(|calls| {
                let function = self.functions.get(calls.function as usize)?;
                Some(CallsRow {
                    pid: Some(calls.pid).filter(|pid| *pid != 0),
                    comm: &calls.comm,
                    function: &function.name,
                    module: &function.module,
                    calls: calls.entries,
                    returns: calls.exits,
                    total_ns: calls.total_ns,
                    max_ns: calls.max_ns,
                    latencies: &calls.latencies,
                })
            })
            .collect();
        calls_table(&rows).map_err(|error| shared::unfit(&error))
    }

    fn load(&self) -> Result<Object> {
        let mut open = open(&self.settings)?;
        configure(&mut open, self.calls.adapter);
        for map in ["functions", "event_counts"] {
            object::set_map_size(&mut open, map, self.functions.len().max(1) as u32)?;
        }
        if self.calls.needs_open_calls() {
            object::set_map_size(&mut open, "open_calls", MOST_OPEN_CALLS)?;
        }
        let mut programs: Vec<_> = self.plan.iter().map(|hook| hook.program).collect();
        programs.extend(self.calls.programs());
        let object = object::load_programs(open, &programs, CANNOT_LOAD)?;
        tables::fill(&map_handle(&object, "functions")?, &self.functions)?;
        Ok(object)
    }

    /// On demand: tells the samples between the first and the last of these Unix times, divided at the others, as soon
    /// as they are over. Rows begin at one of them, and carry `number`.
    ///
    /// # Errors
    /// Where the session does not hold samples, or these are less than two times in ascending order.
    pub fn capture(&self, number: u32, cuts_ns: &[i64]) -> Result<()> {
        let is_window = cuts_ns.len() >= 2 && cuts_ns.is_sorted_by(|one, next| one < next);
        if self.settings.keep.is_none() || !is_window {
            return Err(Error::new(
                ErrorKind::Failed,
                "cannot capture",
                "the session does not hold samples, or the window is none",
                "open it with keep_ns, and give ascending times",
            ));
        }
        let unix_offset_ns = clock::unix_minus_monotonic_ns();
        let monotonic = |unix_ns: &i64| u64::try_from(unix_ns - unix_offset_ns).unwrap_or(0);
        self.shared.ask(Request {
            number,
            cuts: cuts_ns.iter().map(monotonic).collect(),
            unix_offset_ns,
        });
        Ok(())
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
            calls: map_handle(object, "calls")?,
            known: map_handle(object, "known_processes")?,
            unwind: Tables::start(object, self.settings.by_tables)?,
        };
        let pace = Pace {
            period_ns: self.settings.period_ns(),
            interval: self.settings.interval,
            stacks_held: self.settings.stacks_held,
            keep: self.settings.keep,
            max_depth: self.settings.max_depth as usize,
        };
        let calls = CallReporter::new(Arc::clone(&self.functions));
        let mask = TextMask::new(&self.settings.privacy);
        Threads::start(&self.shared, tables, pace, calls, mask, targets.alive())
    }
}

impl tracer::Session for StackSession {
    fn plan(&self) -> Vec<HookRow> {
        let calls = self.calls.rows(&self.functions);
        calls
            .into_iter()
            .chain(self.plan.iter().map(HookRow::from))
            .collect()
    }

    fn attach(&mut self) -> Result<()> {
        let object = self.load()?;
        let targets = Targets::new(map_handle(&object, "targets")?);
        self.settings.filter.fill(&object)?;
        let links = self.attach_tracepoints(&object)?;
        for &pid in &self.settings.filter.pids {
            targets.add(pid)?;
        }
        self.losses = Some(KernelLosses::new(&object)?);
        if !self.functions.is_empty() {
            self.counts = Some(CallCounts::new(
                map_handle(&object, "call_counts")?,
                map_handle(&object, "event_counts")?,
            ));
        }
        let watched = self.watch_threads(&object, &targets)?;
        let threads = self.start_threads(&object, &targets)?;
        let running = self.running.insert(Running {
            targets,
            watched,
            threads,
            links,
            object,
        });
        match attach_sources(&self.settings, &self.calls, &running.object) {
            Ok(links) => running.links.extend(links),
            Err(error) => {
                // the first error is the one to tell
                let _ = self.stop();
                return Err(error);
            }
        }
        Ok(())
    }

    fn live_targets(&self) -> Vec<u32> {
        self.running
            .as_ref()
            .map(|running| running.targets.alive())
            .unwrap_or_default()
    }

    fn add_target(&mut self, pid: u32) -> Result<()> {
        let running = self.running.as_ref().ok_or_else(not_attached)?;
        running.targets.add(pid)?;
        if let Some(watched) = &running.watched {
            for pid in running.targets.alive() {
                watched.watch(pid);
            }
        }
        Ok(())
    }

    fn add_cgroup(&mut self, group: CgroupId) -> Result<()> {
        let running = self.running.as_ref().ok_or_else(not_attached)?;
        object::add_cgroup(&running.object, group)
    }

    fn tick(&mut self, wait: Duration) -> Result<TickBatches> {
        // read first: what comes in the meantime is more than is promised
        let complete_ns = self.shared.complete_ns().cast_signed();
        let captures = self.shared.captures();
        let mut batches = self.shared.take(wait)?;
        batches.push(("functions", self.count_calls()?));
        let mut losses = self.losses.as_mut().ok_or_else(not_attached)?.read()?;
        let given_up = self.shared.take_given_up();
        if given_up > 0 {
            losses.push(("capture_ring", given_up));
        }
        Ok(TickBatches {
            batches,
            losses,
            hits: vec![
                ("samples", self.shared.samples()),
                ("calls", self.shared.calls()),
                ("captures", captures),
            ],
            complete_until_ns: complete_ns + clock::unix_minus_monotonic_ns(),
            notes: Vec::new(),
        })
    }

    fn stop(&mut self) -> Result<()> {
        let Some(running) = self.running.take() else {
            return Ok(());
        };
        drop(running.links);
        self.shared.request_stop();
        let result = running.threads.join();
        if let Some(losses) = &mut self.losses {
            losses.let_go();
        }
        drop(running.object);
        result
    }
}

/// What makes events; everything that they need is in place.
fn attach_sources(
    settings: &StackSettings,
    calls: &CallPlan,
    object: &Object,
) -> Result<Vec<Link>> {
    let mut links = calls.attach(object)?;
    if settings.samples {
        let samplers = perf::attach(object, sampler(settings), settings.frequency_hz)?;
        links.extend(samplers);
    }
    Ok(links)
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
    object::set_map_size(&mut open, "calls", settings.call_ring_bytes)?;
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

fn not_attached() -> Error {
    Error::new(
        ErrorKind::Failed,
        "the session is not attached",
        "attach() was not called or failed",
        "call attach() first",
    )
}
