//! Tries what a run would do: every program is loaded and attached for a moment, then all is gone again.
//!
//! A trial has no side effect: its programs watch this process alone, and records go nowhere. A tracer
//! joins by a [`Candidate`]; `doctor` and `--dry-run` show what comes out.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use libbpf_rs::{Link, MapCore, MapType, Object, OpenObject};

use crate::error::{Error, ErrorKind, Result};
use crate::layout;
use crate::losses::{HIT_PLACES, read_counters};
use crate::object::{self, map_handle};
use crate::plan::{HttpPlan, PlannedHook, plan_http};
use crate::records::{Endpoints, Record};
use crate::session;
use crate::settings::{Filter, HttpSettings, KernelSettings};
use crate::targets::Targets;

const REQUEST: &[u8; 40] = b"GET /trial HTTP/1.1\r\nHost: localhost\r\n\r\n";
const RESPONSE: &[u8; 27] = b"HTTP/1.1 204 No Content\r\n\r\n";

/// What this kernel did with a tracer's programs.
#[derive(Debug, Default)]
pub struct Trial {
    pub hooks: Vec<TriedHook>,
    pub tables: Vec<Table>,
    /// Names of the object's programs, as the kernel keeps them.
    pub programs: Vec<String>,
    /// Whether the programs were made to run.
    pub has_run: bool,
}

/// A hook, and why it cannot be used.
#[derive(Debug)]
pub struct TriedHook {
    pub hook: PlannedHook,
    pub error: Option<Error>,
}

/// A table of the kernel's part and the memory it takes there.
#[derive(Debug)]
pub struct Table {
    pub name: String,
    pub kind: String,
    pub entries: u32,
    pub bytes: u64,
    /// Counted from sizes, because the kernel was not asked.
    pub is_estimate: bool,
}

/// What a tracer lends to its trial.
pub(crate) trait Candidate {
    /// What keeps a program attached.
    type Held;
    /// What cannot be loaded, for messages.
    const CANNOT_LOAD: &'static str;
    /// The object as a run would load it, set to watch this process alone.
    fn open(&self) -> Result<OpenObject>;
    /// Attaches where it harms nobody.
    fn attach(&self, object: &Object, hook: &PlannedHook) -> Result<Self::Held>;
    /// Makes the attached programs run once; an error where they did not.
    fn exercise(&self, object: &Object) -> Result<()>;
}

/// Tries the HTTP tracer: its programs watch this process, which sends itself one request.
///
/// # Errors
/// Where nothing can be tried at all: no BTF, or an object of another version.
pub fn try_http(settings: HttpSettings) -> Result<Trial> {
    let filter = Filter {
        enabled: true,
        ..Filter::default()
    };
    let settings = HttpSettings {
        filter,
        local_addresses: None, // its own request has none
        ..settings
    };
    let mut plans = plan_http()?.into_iter();
    let mut trial = try_plan(&settings, plans.next())?;
    for plan in plans {
        if trial.hooks.iter().all(|hook| hook.error.is_none()) {
            break;
        }
        let works = |trial: &Trial| trial.hooks.iter().all(|hook| hook.error.is_none());
        if let Some(other) = try_plan(&settings, Some(plan)).ok().filter(works) {
            trial = other;
        }
    }
    Ok(trial)
}

fn try_plan(settings: &HttpSettings, plan: Option<HttpPlan>) -> Result<Trial> {
    let Some(plan) = plan else {
        return Ok(Trial::default());
    };
    let path = plan.adapter.object(&settings.object_path);
    layout::check(
        &path,
        &[
            Record::layout(),
            Endpoints::layout(),
            KernelSettings::layout(),
        ],
    )?;
    let candidate = HttpCandidate {
        path,
        settings: settings.clone(),
    };
    try_hooks(&candidate, plan.surveyed)
}

struct HttpCandidate {
    path: PathBuf,
    settings: HttpSettings,
}

impl Candidate for HttpCandidate {
    type Held = Link;
    const CANNOT_LOAD: &'static str = session::CANNOT_LOAD;

    fn open(&self) -> Result<OpenObject> {
        session::open(&self.path, &self.settings)
    }

    fn attach(&self, object: &Object, hook: &PlannedHook) -> Result<Link> {
        object::attach(object, hook)
    }

    fn exercise(&self, object: &Object) -> Result<()> {
        let failed = |cause: &dyn std::fmt::Display| {
            let what = "the HTTP tracer does not see a request of its own";
            Error::new(ErrorKind::Kernel, what, cause, "universal-tracer doctor -v")
        };
        Targets::new(map_handle(object, "targets")?).add(std::process::id())?;
        send_own_request().map_err(|error| failed(&error))?;
        let [operations, ..] = read_counters(&map_handle(object, "hits")?, &HIT_PLACES)?;
        if operations > 0 {
            return Ok(());
        }
        Err(failed(&"its programs are attached and did not run"))
    }
}

/// The first one has the same number on every kernel.
fn is_first_pid_namespace() -> bool {
    std::fs::read_link("/proc/self/ns/pid").is_ok_and(|name| name.as_os_str() == "pid:[4026531836]")
}

/// One request and its answer between the two ends of a pair of sockets.
fn send_own_request() -> std::io::Result<()> {
    let (mut client, mut server) = UnixStream::pair()?;
    let mut room = [0; REQUEST.len()];
    client.write_all(REQUEST)?;
    server.read_exact(&mut room)?;
    server.write_all(RESPONSE)?;
    client.read_exact(&mut room[..RESPONSE.len()])
}

/// Tries all hooks that the kernel has; where loading all of them fails, each on its own.
pub(crate) fn try_hooks(
    candidate: &impl Candidate,
    surveyed: Vec<(PlannedHook, Option<Error>)>,
) -> Result<Trial> {
    let present: Vec<_> = surveyed
        .iter()
        .filter_map(|(hook, lack)| lack.is_none().then_some(*hook))
        .collect();
    let open = candidate.open()?;
    let programs = open.progs().map(|program| kernel_name(program.name()));
    let mut trial = Trial {
        programs: programs.collect(),
        tables: estimated_tables(&open),
        ..Trial::default()
    };
    let mut outcomes = try_together(candidate, open, &present, &mut trial).into_iter();
    for (hook, lack) in surveyed {
        let error = lack.or_else(|| outcomes.next().flatten());
        trial.hooks.push(TriedHook { hook, error });
    }
    Ok(trial)
}

fn try_together<C: Candidate>(
    candidate: &C,
    open: OpenObject,
    hooks: &[PlannedHook],
    trial: &mut Trial,
) -> Vec<Option<Error>> {
    let object = match object::load(open, hooks, C::CANNOT_LOAD) {
        Ok(object) => object,
        Err(error) if error.kind == ErrorKind::Kernel => {
            let alone = |hook: &PlannedHook| try_alone(candidate, *hook).err();
            return hooks.iter().map(alone).collect();
        }
        // no right, no memory: the same for each of them
        Err(error) => return vec![Some(error); hooks.len()],
    };
    trial.tables = measured_tables(&object);
    let attached: Vec<_> = hooks
        .iter()
        .map(|hook| candidate.attach(&object, hook))
        .collect();
    let mut outcomes: Vec<_> = attached
        .iter()
        .map(|link| link.as_ref().err().cloned())
        .collect();
    // Elsewhere the kernel knows this process by an id that we cannot see.
    if outcomes.iter().all(Option::is_none) && is_first_pid_namespace() {
        let error = candidate.exercise(&object).err();
        trial.has_run = error.is_none();
        if let (Some(first), Some(_)) = (outcomes.first_mut(), &error) {
            *first = error;
        }
    }
    outcomes
}

fn try_alone<C: Candidate>(candidate: &C, hook: PlannedHook) -> Result<()> {
    let object = object::load(candidate.open()?, &[hook], C::CANNOT_LOAD)?;
    candidate.attach(&object, &hook).map(drop)
}

/// The kernel keeps 15 bytes of a name.
fn kernel_name(name: &OsStr) -> String {
    name.to_string_lossy().chars().take(15).collect()
}

fn measured_tables(object: &Object) -> Vec<Table> {
    let table = |map: libbpf_rs::Map<'_>| {
        let bytes = memory_of(map.as_fd().as_raw_fd());
        Table {
            name: map.name().to_string_lossy().into_owned(),
            kind: format!("{:?}", map.map_type()),
            entries: map.max_entries(),
            bytes: bytes.unwrap_or_default(),
            is_estimate: bytes.is_none(),
        }
    };
    object.maps().map(table).collect()
}

/// The kernel's own count, from /proc.
fn memory_of(descriptor: i32) -> Option<u64> {
    let told = std::fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}")).ok()?;
    let line = told
        .lines()
        .find_map(|line| line.strip_prefix("memlock:"))?;
    line.trim().parse().ok()
}

fn estimated_tables(open: &OpenObject) -> Vec<Table> {
    let table = |map: libbpf_rs::OpenMap<'_>| Table {
        name: map.name().to_string_lossy().into_owned(),
        kind: format!("{:?}", map.map_type()),
        entries: map.max_entries(),
        bytes: estimate(&map),
        is_estimate: true,
    };
    open.maps().map(table).collect()
}

/// Entries times their size; what is allocated when it is needed (storage of sockets and tasks) takes nothing yet.
fn estimate(map: &libbpf_rs::OpenMap<'_>) -> u64 {
    let (key, value) = (
        u64::from(map.key_size()),
        u64::from(map.value_size()).next_multiple_of(8),
    );
    let (entries, cpus) = (
        u64::from(map.max_entries()),
        libbpf_rs::num_possible_cpus().unwrap_or(1) as u64,
    );
    match map.map_type() {
        MapType::RingBuf => entries,
        MapType::PercpuArray => entries * value * cpus,
        MapType::PercpuHash | MapType::LruPercpuHash => entries * (key + value * cpus + HASH_ENTRY),
        MapType::Hash | MapType::LruHash => entries * (key + value + HASH_ENTRY),
        MapType::SkStorage | MapType::TaskStorage => 0,
        _ => entries * value,
    }
}

/// Bytes of an entry of a hash table besides key and value, about.
const HASH_ENTRY: u64 = 48;
