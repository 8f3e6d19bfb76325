//! An HTTP tracing session: plan, open, configure, load, attach, drain, detach, in one owner.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use libbpf_rs::{Link, MapHandle, Object, OpenObject};

use crate::advice::AdviceTable;
use crate::clock;
use crate::decode::{Decoded, HttpDecoder};
use crate::drain::{self, Shared};
use crate::error::{Error, ErrorKind, Result};
use crate::layout;
use crate::local_addresses::{LocalAddress, LocalAddresses};
use crate::losses::{HIT_PLACES, KernelLosses, read_counters};
use crate::object::{self, map_handle};
use crate::panics;
use crate::plan::{HttpPlan, PlannedHook, plan_http};
use crate::records::{Endpoints, Record};
use crate::settings::{CgroupId, HttpSettings, KernelSettings};
use crate::targets::Targets;
use crate::tracer::{self, HookRow, TickBatches};

pub(crate) const CANNOT_LOAD: &str = "cannot load the HTTP tracer into the kernel";

/// What came since the last tick.
pub struct Tick {
    pub decoded: Decoded,
    /// (place, count), only where something was lost.
    pub losses: Vec<(&'static str, u64)>,
    /// (what, count since the start).
    pub hits: Vec<(&'static str, u64)>,
    /// Everything that ended before this Unix time is in this or an earlier tick.
    pub complete_until_ns: i64,
}

/// A session; nothing is loaded before [`HttpSession::attach`].
pub struct HttpSession {
    settings: HttpSettings,
    plan: Vec<PlannedHook>,
    /// The object of the planned adapter.
    object_path: PathBuf,
    /// What else may be tried where the plan cannot be loaded.
    others: Vec<HttpPlan>,
    running: Option<Running>,
    /// Columns and counters stay readable after the programs are gone.
    shared: Option<Arc<Shared>>,
    counters: Option<Counters>,
}

/// Everything that keeps programs in the kernel; dropping it detaches them.
struct Running {
    targets: Targets,
    local_addresses: LocalAddresses,
    drain: JoinHandle<Result<()>>,
    /// Before `object`: links go first.
    links: Vec<Link>,
    object: Object,
}

struct Counters {
    losses: KernelLosses,
    hits: MapHandle,
}

impl HttpSession {
    /// Plans on the running kernel and checks the object; attaches nothing.
    pub fn new(settings: HttpSettings) -> Result<Self> {
        let mut others = plan_http()?;
        let first = others.remove(0);
        let object_path = first.adapter.object(&settings.object_path);
        layout::check(
            &object_path,
            &[
                Record::layout(),
                Endpoints::layout(),
                KernelSettings::layout(),
            ],
        )?;
        Ok(Self {
            plan: first.hooks(settings.filter.enabled)?,
            object_path,
            others,
            settings,
            running: None,
            shared: None,
            counters: None,
        })
    }

    pub fn plan(&self) -> &[PlannedHook] {
        &self.plan
    }

    /// Loads, adds the targets, attaches every planned hook and starts to drain.
    pub fn attach(&mut self) -> Result<()> {
        let object = self.load_first_that_works()?;
        let targets = Targets::new(map_handle(&object, "targets")?);
        self.settings.filter.fill(&object)?;
        let local_addresses = LocalAddresses::new(map_handle(&object, "local_addresses")?);
        local_addresses.set(self.settings.local_addresses.as_deref().unwrap_or_default())?;
        let shared = Shared::new(HttpDecoder::new(self.settings.decode.clone()));
        let links = self.attach_programs(&object)?;
        for &pid in &self.settings.filter.pids {
            targets.add(pid)?;
        }
        let ring = map_handle(&object, "events")?;
        let advices = AdviceTable::map(&map_handle(&object, "advices")?)?;
        self.counters = Some(Counters {
            losses: KernelLosses::new(&object)?,
            hits: map_handle(&object, "hits")?,
        });
        let for_thread = Arc::clone(&shared);
        let cpu_percent = self.settings.cpu_percent;
        let drain = std::thread::Builder::new()
            .name("ut-drain".to_owned())
            .spawn(move || drain::run(&for_thread, &ring, advices, cpu_percent))
            .map_err(|error| {
                Error::new(
                    ErrorKind::Failed,
                    "cannot start a thread",
                    error,
                    "raise the limit of tasks",
                )
            })?;
        self.shared = Some(shared);
        self.running = Some(Running {
            targets,
            local_addresses,
            drain,
            links,
            object,
        });
        Ok(())
    }

    /// Traces `pid` and its descendants from now on.
    pub fn add_target(&self, pid: u32) -> Result<()> {
        self.running()?.targets.add(pid)
    }

    /// Traces who is born into `group` or moves there from now on; not who is there already.
    pub fn add_cgroup(&self, group: CgroupId) -> Result<()> {
        object::add_cgroup(&self.running()?.object, group)
    }

    /// Makes these the addresses whose connections are traced. They count only in a session
    /// that was made with [`HttpSettings::local_addresses`].
    pub fn set_local_addresses(&self, addresses: &[LocalAddress]) -> Result<()> {
        self.running()?.local_addresses.set(addresses)
    }

    /// Targets that still run.
    pub fn live_targets(&self) -> Vec<u32> {
        self.running
            .as_ref()
            .map(|running| running.targets.alive())
            .unwrap_or_default()
    }

    /// Waits up to `wait` (less when many events are ready) for what came since the last tick.
    pub fn tick(&mut self, wait: Duration) -> Result<Tick> {
        let shared = self.shared.as_ref().ok_or_else(not_attached)?;
        // read first: what comes in the meantime is more than is promised
        let complete_until_ns = shared.complete_until_ns();
        let decoded = shared.take(wait);
        let (mut losses, hits) = self.counters.as_mut().ok_or_else(not_attached)?.read()?;
        losses.extend_from_slice(&decoded.losses);
        Ok(Tick {
            decoded,
            losses,
            hits,
            complete_until_ns: complete_until_ns.cast_signed() + clock::unix_minus_monotonic_ns(),
        })
    }

    /// Detaches, empties the ring and finishes; a last [`HttpSession::tick`] returns the rest.
    pub fn stop(&mut self) -> Result<()> {
        let Some(running) = self.running.take() else {
            return Ok(());
        };
        drop(running.links);
        if let Some(shared) = &self.shared {
            shared.request_stop();
        }
        let result = running.drain.join().unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::Bug,
                "the decoder stopped unexpectedly",
                panics::places().join(", "),
                "run again with -v and report it",
            ))
        });
        if let Some(counters) = &mut self.counters {
            counters.losses.let_go();
        }
        drop(running.object);
        result
    }

    fn running(&self) -> Result<&Running> {
        self.running.as_ref().ok_or_else(not_attached)
    }

    /// Loads the plan, or the next one that the kernel takes; the error is that of the first.
    fn load_first_that_works(&mut self) -> Result<Object> {
        let mut outcome = self.load(&self.object_path, &self.plan);
        for other in std::mem::take(&mut self.others) {
            if !matches!(&outcome, Err(error) if error.kind == ErrorKind::Kernel) {
                break;
            }
            let path = other.adapter.object(&self.settings.object_path);
            let hooks = other.hooks(self.settings.filter.enabled)?;
            if let Ok(object) = self.load(&path, &hooks) {
                (self.object_path, self.plan, outcome) = (path, hooks, Ok(object));
            }
        }
        outcome
    }

    fn load(&self, path: &Path, plan: &[PlannedHook]) -> Result<Object> {
        object::load(open(path, &self.settings)?, plan, CANNOT_LOAD)
    }

    fn attach_programs(&self, object: &Object) -> Result<Vec<Link>> {
        // the hooks that follow targets come first, so that no child is missed
        self.plan
            .iter()
            .rev()
            .map(|hook| object::attach(object, hook))
            .collect()
    }
}

/// The object as a run loads it: settings and sizes are in it.
pub(crate) fn open(path: &Path, settings: &HttpSettings) -> Result<OpenObject> {
    let mut open = object::open(path, CANNOT_LOAD)?;
    object::set_settings(&mut open, &KernelSettings::new(settings).to_bytes())?;
    object::set_map_size(&mut open, "events", settings.ring_bytes)?;
    Ok(open)
}

impl Counters {
    #[expect(clippy::type_complexity, reason = "two lists of named counts")]
    fn read(&mut self) -> Result<(Vec<(&'static str, u64)>, Vec<(&'static str, u64)>)> {
        let losses = self.losses.read()?;
        let hits = HIT_PLACES
            .into_iter()
            .zip(read_counters(&self.hits, &HIT_PLACES)?)
            .collect();
        Ok((losses, hits))
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

impl tracer::Session for HttpSession {
    fn plan(&self) -> Vec<HookRow> {
        self.plan.iter().map(HookRow::from).collect()
    }

    fn attach(&mut self) -> Result<()> {
        Self::attach(self)
    }

    fn live_targets(&self) -> Vec<u32> {
        Self::live_targets(self)
    }

    fn add_target(&mut self, pid: u32) -> Result<()> {
        Self::add_target(self, pid)
    }

    fn add_cgroup(&mut self, group: CgroupId) -> Result<()> {
        Self::add_cgroup(self, group)
    }

    fn tick(&mut self, wait: Duration) -> Result<TickBatches> {
        let tick = Self::tick(self, wait)?;
        Ok(TickBatches {
            batches: vec![
                ("http", tick.decoded.http),
                ("connection", tick.decoded.connection),
            ],
            losses: tick.losses,
            hits: tick.hits,
            complete_until_ns: tick.complete_until_ns,
            notes: Vec::new(),
        })
    }

    fn stop(&mut self) -> Result<()> {
        Self::stop(self)
    }
}
