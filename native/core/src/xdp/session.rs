//! A session of the packet tracer: find interfaces, load, attach, collect, detach, in one owner.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use libbpf_rs::Object;

use super::attach;
use super::clock::TickClock;
use super::collect::{self, Collected, Collector, Shared};
use super::flows::FlowTracker;
use super::interface::{InterfaceFacts, InterfaceTarget};
use super::ledger::Ledgers;
use super::load::{self, Loader};
use super::records::{self, KernelSettings};
use super::settings::{MAX_INTERFACES, Mode, XdpSettings};
use super::skips::skips;
use super::table::{FlowTable, wait_for_programs};
use crate::clock;
use crate::error::{Error, ErrorKind, Result};
use crate::layout;

/// What came since the last tick.
pub struct Tick {
    pub collected: Collected,
    /// (what, count since the start).
    pub hits: Vec<(&'static str, u64)>,
    /// Everything that ended before this Unix time is in this or an earlier tick.
    pub complete_until_ns: i64,
}

/// One hook of the plan.
#[derive(Clone, Debug)]
pub struct XdpHook {
    /// Interface and direction.
    pub hook: String,
    pub adapter: &'static str,
    pub why: String,
    pub cost: &'static str,
}

/// A session; nothing is loaded before [`XdpSession::attach`].
pub struct XdpSession {
    settings: XdpSettings,
    targets: Vec<(InterfaceTarget, InterfaceFacts)>,
    running: Option<Running>,
    /// Columns stay readable after the programs are gone.
    shared: Option<Arc<Shared>>,
}

/// Everything that keeps programs in the kernel.
struct Running {
    loader: Loader,
    constants: KernelSettings,
    attached: Vec<Attached>,
    thread: Option<JoinHandle<Result<()>>>,
}

/// The programs of one interface; dropping it detaches them.
struct Attached {
    number: u16,
    name: String,
    /// Before `_object`: links go first.
    _links: Vec<OwnedFd>,
    _object: Object,
}

impl XdpSession {
    /// Looks the interfaces up and checks the object; attaches nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Target`] where an interface does not exist.
    pub fn new(settings: XdpSettings) -> Result<Self> {
        layout::check(&settings.object_path, &records::layouts())?;
        let found = settings.interfaces.iter().map(|name| {
            let target = InterfaceTarget::find(name, &None)?;
            let facts = target.facts()?;
            Ok((target, facts))
        });
        let targets = found.collect::<Result<_>>()?;
        Ok(Self {
            settings,
            targets,
            running: None,
            shared: None,
        })
    }

    /// What [`XdpSession::attach`] will do.
    pub fn plan(&self) -> Vec<XdpHook> {
        self.targets
            .iter()
            .flat_map(|(target, facts)| self.hooks(target, facts))
            .collect()
    }

    fn hooks(&self, target: &InterfaceTarget, facts: &InterfaceFacts) -> Vec<XdpHook> {
        let cost = "below 0.1 µs per packet";
        let (mode, why) = chosen_mode(self.settings.mode, facts);
        let ingress = XdpHook {
            hook: format!("{} ingress", target.name),
            adapter: mode_name(mode),
            why,
            cost,
        };
        let egress = XdpHook {
            hook: format!("{} egress", target.name),
            adapter: "tc",
            why: "what the interface sends".to_owned(),
            cost,
        };
        let mut hooks = vec![ingress];
        hooks.extend(self.settings.egress.then_some(egress));
        hooks
    }

    /// Loads, attaches to every interface and starts to collect.
    pub fn attach(&mut self) -> Result<()> {
        let cpus = libbpf_rs::num_possible_cpus().map_err(|error| {
            Error::from_bpf(
                "cannot count the CPUs",
                &error,
                &crate::verifier_log::take(),
            )
        })?;
        let cpu_count = u32::try_from(cpus).unwrap_or(u32::MAX);
        let mut loader = Loader::new(&self.settings, cpu_count)?;
        let seed = RandomState::new().build_hasher().finish();
        let constants = self
            .settings
            .kernel(seed, TickClock::per_second(), cpu_count);
        let clock_program = loader.load(&constants, &[load::READ_CLOCK])?;
        let table = FlowTable::map(
            loader.map("flow_sets")?,
            loader.map("flows")?,
            loader.map("flows_used")?,
        )?;
        let settings = &self.settings;
        let collector = Collector::new(
            FlowTracker::new(
                table,
                settings.flow_timeout,
                settings.flow_table_size,
                settings.sampling,
            ),
            Ledgers::map(loader.map("ledgers")?, cpus)?,
            clock_program,
            copy(loader.map("tick_readings")?)?,
            settings.sampling,
            settings.track_flows,
        );
        self.shared = Some(Shared::new(collector));
        self.running = Some(Running {
            loader,
            constants,
            attached: Vec::new(),
            thread: None,
        });
        let targets = self.targets.clone();
        let attached = targets
            .iter()
            .try_for_each(|(target, facts)| self.add(target, facts));
        if let Err(error) = attached.and_then(|()| self.start_thread()) {
            self.running = None;
            self.shared = None;
            return Err(error);
        }
        Ok(())
    }

    /// Traces an interface from now on.
    pub fn add_interface(&mut self, target: &InterfaceTarget) -> Result<()> {
        let facts = target.facts()?;
        self.add(target, &facts)
    }

    /// Stops tracing the interface of that name.
    pub fn remove_interface(&mut self, name: &str) {
        let (Some(running), Some(shared)) = (&mut self.running, &self.shared) else {
            return;
        };
        if let Some(at) = running.attached.iter().position(|one| one.name == name) {
            let gone = running.attached.remove(at);
            let number = gone.number;
            drop(gone);
            shared.lock().remove(number);
        }
    }

    fn add(&mut self, target: &InterfaceTarget, facts: &InterfaceFacts) -> Result<()> {
        let (Some(running), Some(shared)) = (&mut self.running, &self.shared) else {
            return Err(not_attached());
        };
        let number = running.free_number(&target.name)?;
        let skips = skips(self.settings.sampling);
        shared.lock().begin(number, &skips);
        let (mode, _) = chosen_mode(self.settings.mode, facts);
        let attached = running.attach(number, target, facts, mode, self.settings.egress);
        let (attached, mode) = match attached {
            Err(error)
                if self.settings.mode.is_none()
                    && mode == Mode::Native
                    && error.kind == ErrorKind::Kernel =>
            {
                let line = format!(
                    "{}: {}, generic XDP is used instead",
                    error.what, error.cause
                );
                shared.lock().note(line);
                let again =
                    running.attach(number, target, facts, Mode::Generic, self.settings.egress);
                (again?, Mode::Generic)
            }
            other => (other?, mode),
        };
        running.attached.push(attached);
        let modes = [Some(mode_name(mode)), self.settings.egress.then_some("tc")];
        shared.lock().add(number, target.clone(), modes);
        Ok(())
    }

    fn start_thread(&mut self) -> Result<()> {
        let (Some(running), Some(shared)) = (&mut self.running, &self.shared) else {
            return Err(not_attached());
        };
        let for_thread = Arc::clone(shared);
        let interval = self.settings.interval;
        let thread = std::thread::Builder::new()
            .name("ut-packets".to_owned())
            .spawn(move || collect::run(&for_thread, interval))
            .map_err(|error| {
                Error::new(
                    ErrorKind::Failed,
                    "cannot start a thread",
                    error,
                    "raise the limit of tasks",
                )
            })?;
        running.thread = Some(thread);
        Ok(())
    }

    /// Waits up to `wait` and returns what came since the last tick.
    pub fn tick(&mut self, wait: Duration) -> Result<Tick> {
        let shared = self.shared.as_ref().ok_or_else(not_attached)?;
        shared.wait(wait);
        let mut collector = shared.lock();
        Ok(Tick {
            collected: collector.take(),
            hits: collector.hits().to_vec(),
            complete_until_ns: clock::monotonic_ns().cast_signed()
                + clock::unix_minus_monotonic_ns(),
        })
    }

    /// Detaches and reads everything for the last time; one more [`XdpSession::tick`] returns it.
    pub fn stop(&mut self) -> Result<()> {
        let (Some(running), Some(shared)) = (self.running.take(), &self.shared) else {
            return Ok(());
        };
        shared.request_stop();
        let thread = running.thread.map(JoinHandle::join);
        drop(running.attached);
        wait_for_programs();
        shared.lock().finish()?;
        match thread {
            Some(Err(_)) => Err(Error::new(
                ErrorKind::Failed,
                "the packets' reader stopped unexpectedly",
                "a bug",
                "run again with -v and report it",
            )),
            Some(Ok(result)) => result,
            None => Ok(()),
        }
    }
}

impl Running {
    /// A number for an interface; one that comes again gets its old one only if nothing is attached under it.
    fn free_number(&self, name: &str) -> Result<u16> {
        (0..MAX_INTERFACES)
            .find(|number| self.attached.iter().all(|one| one.number != *number))
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::Failed,
                    format!("cannot trace {name}"),
                    format!("{MAX_INTERFACES} interfaces are traced already"),
                    "name fewer with --interface",
                )
            })
    }

    fn attach(
        &mut self,
        number: u16,
        target: &InterfaceTarget,
        facts: &InterfaceFacts,
        mode: Mode,
        egress: bool,
    ) -> Result<Attached> {
        let constants = KernelSettings {
            interface: number,
            has_link_header: facts.has_link_header.into(),
            is_generic: (mode == Mode::Generic).into(),
            has_fragments: (mode == Mode::Generic || facts.may_have_fragments()).into(),
            ..self.constants
        };
        let mut programs = vec![load::INGRESS_XDP];
        programs.extend(egress.then_some(load::EGRESS_TC));
        let object = self.loader.load(&constants, &programs)?;
        let mut links = Vec::new();
        let ingress = load::program(&object, load::INGRESS_XDP)?;
        links.push(attach::xdp(&ingress.as_fd(), target, mode)?);
        if egress {
            let program = load::program(&object, load::EGRESS_TC)?;
            links.push(attach::tcx(&program.as_fd(), target, false)?);
        }
        Ok(Attached {
            number,
            name: target.name.clone(),
            _links: links,
            _object: object,
        })
    }
}

fn chosen_mode(wanted: Option<Mode>, facts: &InterfaceFacts) -> (Mode, String) {
    match wanted {
        Some(mode) => (mode, "as asked for".to_owned()),
        None if facts.is_veth() => (
            Mode::Generic,
            "native XDP on veth switches off the peer's segmentation offload".to_owned(),
        ),
        None => (
            Mode::Native,
            "the cheapest way to see what is received".to_owned(),
        ),
    }
}

fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Native => "native",
        Mode::Generic => "generic",
    }
}

fn copy(map: &libbpf_rs::MapHandle) -> Result<libbpf_rs::MapHandle> {
    libbpf_rs::MapHandle::try_from(map)
        .map_err(|error| Error::from_bpf("cannot use a map", &error, &crate::verifier_log::take()))
}

fn not_attached() -> Error {
    Error::new(
        ErrorKind::Failed,
        "the session is not attached",
        "attach() was not called or failed",
        "call attach() first",
    )
}
