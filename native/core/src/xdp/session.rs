//! A session of the packet tracer: find interfaces, load, attach, collect, detach, in one owner.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use libbpf_rs::Object;

mod follow;

use super::attach::{self, Hold};
use super::choose::{self, Ingress};
use super::clock::TickClock;
use super::collect::{self, Collected, Collector, Shared};
use super::flows::FlowTracker;
use super::interface::{InterfaceFacts, InterfaceTarget};
use super::ledger::Ledgers;
use super::load::{self, Loader};
use super::owners::Owners;
use super::packets::{self, PacketReader, SharedPackets, TakenPackets};
use super::records::{self, KernelSettings};
use super::scope::Scopes;
use super::settings::{MAX_INTERFACES, Mode, XdpSettings};
use super::skips::skips;
use super::sockets::{self, SocketWatch};
use super::table::{FlowTable, wait_for_programs};
use crate::clock;
use crate::error::{Error, ErrorKind, Result};
use crate::layout;
use crate::object::CgroupId;
use crate::plan::PlannedHook;
use crate::tracer::{HookRow, Session, TickBatches};

/// A session; nothing is loaded before [`Session::attach`].
pub struct XdpSession {
    settings: XdpSettings,
    scopes: Scopes,
    targets: Vec<InterfaceTarget>,
    hooks: Vec<HookRow>,
    socket_hooks: Vec<PlannedHook>,
    running: Option<Running>,
    /// Columns stay readable after the programs are gone.
    shared: Option<Arc<Shared>>,
    /// Where packets are wanted.
    packets: Option<Arc<SharedPackets>>,
}

/// Everything that keeps programs in the kernel.
struct Running {
    loader: Loader,
    constants: KernelSettings,
    sockets: SocketWatch,
    /// Targets came: what they held before counts as theirs.
    are_new_targets: bool,
    attached: Vec<Attached>,
    thread: Option<JoinHandle<Result<()>>>,
    ring_thread: Option<JoinHandle<Result<()>>>,
}

/// The programs of one interface; dropping it detaches them.
struct Attached {
    number: u16,
    target: InterfaceTarget,
    /// Before `_object`: links go first.
    _links: Vec<Hold>,
    _object: Object,
}

impl XdpSession {
    /// Looks the interfaces up and checks the object; attaches nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Target`] where an interface does not exist.
    pub fn new(settings: XdpSettings) -> Result<Self> {
        layout::check(&settings.object_path, &records::layouts())?;
        let scopes = Scopes::new(settings.interfaces.clone(), &settings.processes)?;
        let targets = scopes.present();
        let absent = scopes.absent(&targets);
        if let Some(name) = absent.first().filter(|_| !settings.waits) {
            return Err(no_interface(name));
        }
        if targets.is_empty() && !settings.waits {
            return Err(nothing_to_trace());
        }
        let filter = settings.filter.enabled;
        let mut session = Self {
            settings,
            scopes,
            targets,
            hooks: Vec::new(),
            socket_hooks: sockets::hooks(filter)?,
            running: None,
            shared: None,
            packets: None,
        };
        session.choose_hooks()?;
        Ok(session)
    }

    /// # Errors
    /// Where another program is in the way, or an interface has gone.
    fn choose_hooks(&mut self) -> Result<()> {
        for target in &self.targets {
            let choice = choose::ingress(self.settings.mode, target, &target.facts()?)?;
            let hooks = choose::hooks(target, &choice, self.settings.egress);
            self.hooks.extend(hooks);
        }
        let rows = self.socket_hooks.iter().map(HookRow::from);
        self.hooks.extend(rows);
        Ok(())
    }

    /// Traces an interface from now on.
    fn add_interface(&mut self, target: &InterfaceTarget) -> Result<()> {
        let facts = target.facts()?;
        let choice = choose::ingress(self.settings.mode, target, &facts)?;
        choice.note.into_iter().for_each(|line| self.note(line));
        match self.add(target, &facts, choice.ingress) {
            Err(error) if self.may_be_generic(choice.ingress, &error) => {
                self.note(format!(
                    "{}: {}, generic XDP is used instead",
                    error.what, error.cause
                ));
                self.add(target, &facts, Ingress::Xdp(Mode::Generic))?;
                let name = choose::ingress_hook(target);
                let hooks = self.hooks.iter_mut().filter(|hook| hook.hook == name);
                hooks.for_each(|hook| hook.adapter = Mode::Generic.name());
                Ok(())
            }
            result => result,
        }
    }

    /// A driver without native XDP is no reason to see nothing.
    fn may_be_generic(&self, ingress: Ingress, error: &Error) -> bool {
        self.settings.mode.is_none()
            && ingress == Ingress::Xdp(Mode::Native)
            && error.kind == ErrorKind::Kernel
    }

    fn add(
        &mut self,
        target: &InterfaceTarget,
        facts: &InterfaceFacts,
        ingress: Ingress,
    ) -> Result<()> {
        let (Some(running), Some(shared)) = (&mut self.running, &self.shared) else {
            return Err(not_attached());
        };
        let number = running.free_number(&target.name)?;
        let egress = self.settings.egress;
        shared.lock().begin(number, &skips(self.settings.sampling));
        if let Some(packets) = &self.packets {
            packets.lock().add(number, target, facts);
        }
        let attached = running.attach(number, target, facts, ingress, egress)?;
        running.attached.push(attached);
        let modes = [Some(ingress.name()), egress.then_some("tc")];
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
            .map_err(|error| no_thread(&error))?;
        running.thread = Some(thread);
        if let Some(packets) = &self.packets {
            let for_thread = Arc::clone(packets);
            let ring = copy(running.loader.map("packets")?)?;
            let name = "ut-ring".to_owned();
            let thread = std::thread::Builder::new().name(name);
            let thread = thread
                .spawn(move || packets::run(&for_thread, &ring))
                .map_err(|error| no_thread(&error))?;
            running.ring_thread = Some(thread);
        }
        Ok(())
    }

    /// Once for all that came since the last tick.
    fn look_at_new_targets(&mut self) -> Result<()> {
        match &mut self.running {
            Some(running) if running.are_new_targets => {
                running.are_new_targets = false;
                running.sockets.look_at_all()
            }
            _ => Ok(()),
        }
    }

    fn take_packets(&self, collected: &mut Collected) -> TakenPackets {
        let Some(packets) = &self.packets else {
            return TakenPackets::default();
        };
        for &(number, count) in &collected.packets_lost {
            packets.lock().lost(number, count);
        }
        let taken = packets.take(self.running.is_none());
        for (place, count) in [
            ("packet_events", taken.capped),
            ("capture", taken.uncaptured),
        ] {
            if count > 0 {
                collected.losses.push((place, count));
            }
        }
        taken
    }
}

impl Session for XdpSession {
    fn plan(&self) -> Vec<HookRow> {
        self.hooks.clone()
    }

    fn attach(&mut self) -> Result<()> {
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
        let sockets =
            SocketWatch::start(&mut loader, &constants, &self.settings, &self.socket_hooks)?;
        let table = FlowTable::map(
            loader.map("flow_sets")?,
            loader.map("flows")?,
            loader.map("flows_used")?,
        )?;
        let settings = &self.settings;
        let collector = Collector::new(
            FlowTracker::new(
                table,
                Owners::new(
                    copy(loader.map("owners")?)?,
                    copy(loader.map("socket_owners")?)?,
                ),
                settings.flow_timeout,
                settings.flow_table_size,
                settings.sampling,
                settings.filter.enabled,
                settings.is_watched,
            ),
            Ledgers::map(loader.map("ledgers")?, cpus)?,
            clock_program,
            copy(loader.map("tick_readings")?)?,
            settings.sampling,
            settings.track_flows,
            settings.is_watched,
        );
        self.shared = Some(Shared::new(collector));
        self.running = Some(Running {
            loader,
            constants,
            sockets,
            are_new_targets: false,
            attached: Vec::new(),
            thread: None,
            ring_thread: None,
        });
        if self.settings.wants_packets() {
            self.packets = Some(SharedPackets::new(PacketReader::new(&self.settings)));
        }
        let targets = self.targets.clone();
        let attached = targets
            .iter()
            .try_for_each(|target| self.add_interface(target));
        if let Err(error) = attached.and_then(|()| self.start_thread()) {
            self.running = None;
            self.shared = None;
            return Err(error);
        }
        for name in self.scopes.absent(&targets) {
            self.note(format!("waiting for interface {name}: it is not there yet"));
        }
        Ok(())
    }

    fn live_targets(&self) -> Vec<u32> {
        self.running
            .as_ref()
            .map(|running| running.sockets.live_targets())
            .unwrap_or_default()
    }

    fn add_target(&mut self, pid: u32) -> Result<()> {
        self.add_process(pid)?;
        let running = self.running.as_mut().ok_or_else(not_attached)?;
        running.are_new_targets = true;
        running.sockets.add_target(pid)
    }

    fn add_cgroup(&mut self, group: CgroupId) -> Result<()> {
        let running = self.running.as_ref().ok_or_else(not_attached)?;
        running.sockets.add_cgroup(group)
    }

    fn tick(&mut self, wait: Duration) -> Result<TickBatches> {
        self.shared.as_ref().ok_or_else(not_attached)?.wait(wait);
        self.look_at_new_targets()?;
        if self.running.is_some() && self.scopes.have_changed() {
            self.follow_interfaces();
        }
        let shared = self.shared.as_ref().ok_or_else(not_attached)?;
        let mut collector = shared.lock();
        let mut collected = collector.take();
        let hits = collector.hits().to_vec();
        drop(collector);
        let packets = self.take_packets(&mut collected);
        Ok(TickBatches {
            batches: vec![
                ("flow", collected.flow),
                ("interface", collected.interface),
                ("network", collected.network),
                ("interfaces", collected.live_interfaces),
                ("flows", collected.live.flows),
                ("talkers", collected.live.talkers),
                ("packet", packets.events),
                ("capture", packets.capture),
            ],
            losses: collected.losses,
            hits,
            complete_until_ns: clock::monotonic_ns().cast_signed()
                + clock::unix_minus_monotonic_ns(),
            notes: collected.notes,
        })
    }

    fn stop(&mut self) -> Result<()> {
        let (Some(running), Some(shared)) = (self.running.take(), &self.shared) else {
            return Ok(());
        };
        shared.request_stop();
        let thread = running.thread.map(JoinHandle::join);
        drop(running.attached);
        wait_for_programs();
        if let Some(packets) = &self.packets {
            packets.request_stop();
        }
        let ring_thread = running.ring_thread.map(JoinHandle::join);
        shared.lock().finish()?;
        ended_well(thread)?;
        ended_well(ring_thread)
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
        ingress: Ingress,
        egress: bool,
    ) -> Result<Attached> {
        let is_generic = ingress == Ingress::Xdp(Mode::Generic);
        let constants = KernelSettings {
            interface: number,
            has_link_header: facts.has_link_header.into(),
            is_generic: is_generic.into(),
            has_fragments: (is_generic || facts.may_have_fragments()).into(),
            ..self.constants
        };
        let by_ingress = match ingress {
            Ingress::Xdp(_) => load::INGRESS_XDP,
            Ingress::Tc => load::INGRESS_TC,
        };
        let mut programs = vec![by_ingress];
        programs.extend(egress.then_some(load::EGRESS_TC));
        let object = self.loader.load(&constants, &programs)?;
        let program = load::program(&object, by_ingress)?;
        let mut links = vec![match ingress {
            Ingress::Xdp(mode) => attach::xdp(&program.as_fd(), target, mode)?,
            Ingress::Tc => attach::tc(&program.as_fd(), target, true)?,
        }];
        if egress {
            let program = load::program(&object, load::EGRESS_TC)?;
            links.push(attach::tc(&program.as_fd(), target, false)?);
        }
        Ok(Attached {
            number,
            target: target.clone(),
            _links: links,
            _object: object,
        })
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

fn no_interface(name: &str) -> Error {
    Error::new(
        ErrorKind::Target,
        format!("no interface {name:?}"),
        "there is none of that name",
        "ip link lists the interfaces",
    )
}

fn nothing_to_trace() -> Error {
    Error::new(
        ErrorKind::Target,
        "no interface to trace packets of",
        "there is no default route, so no interface is the obvious one",
        "name one: --interface IFACE (ip -brief link lists them)",
    )
}

fn no_thread(error: &std::io::Error) -> Error {
    Error::new(
        ErrorKind::Failed,
        "cannot start a thread",
        error,
        "raise the limit of tasks",
    )
}

fn ended_well(thread: Option<std::thread::Result<Result<()>>>) -> Result<()> {
    thread.unwrap_or(Ok(Ok(()))).unwrap_or_else(|_| {
        Err(Error::new(
            ErrorKind::Failed,
            "the packets' reader stopped unexpectedly",
            "a bug",
            "run again with -v and report it",
        ))
    })
}
