//! Steps that every tracer's session shares: open, configure, load, attach an object file, and fill its filters.

use std::path::Path;

use libbpf_rs::{Link, MapCore, MapFlags, MapHandle, Object, ObjectBuilder, OpenObject};

use crate::error::{Error, ErrorKind, Result};
use crate::plan::PlannedHook;
use crate::verifier_log;

/// NAME_LENGTH of `bpf/include/shared_maps.h`.
const NAME_LENGTH: usize = 64;
/// Bytes of a comm without its terminator.
const COMM_BYTES: usize = 15;

/// `struct target_cgroup` of `bpf/include/shared_maps.h`: each hierarchy numbers its groups by itself.
#[derive(Clone, Copy, Debug)]
pub struct CgroupId {
    /// 0 is version 2.
    pub hierarchy: u32,
    /// The inode of the group's directory.
    pub id: u64,
}

/// Whom a tracer traces: what `bpf/include/targets.h` is told.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The tracer's own thread group, never traced.
    pub self_pid: u32,
    /// Trace only the targets below (empty lists: nobody yet); false = the whole machine.
    pub enabled: bool,
    pub pids: Vec<u32>,
    pub cgroups: Vec<CgroupId>,
    pub names: Vec<String>,
}

impl Filter {
    /// Fills the maps that say who becomes a target; pids are added once the hooks are attached.
    pub(crate) fn fill(&self, object: &Object) -> Result<()> {
        for &group in &self.cgroups {
            add_cgroup(object, group)?;
        }
        let names = map_handle(object, "target_names")?;
        for name in &self.names {
            // a comm is cut by the kernel, an executable's name to our key's size
            let bytes = name.as_bytes();
            for length in [
                bytes.len().min(COMM_BYTES),
                bytes.len().min(NAME_LENGTH - 1),
            ] {
                let mut key = [0; NAME_LENGTH];
                key[..length].copy_from_slice(&bytes[..length]);
                insert(&names, &key)?;
            }
        }
        Ok(())
    }
}

/// Makes targets of all who are born into the group, or move there, from now on.
///
/// # Errors
/// Where there is no room for one more.
pub(crate) fn add_cgroup(object: &Object, group: CgroupId) -> Result<()> {
    let mut key = [0; 16];
    key[..4].copy_from_slice(&group.hierarchy.to_ne_bytes());
    key[8..].copy_from_slice(&group.id.to_ne_bytes());
    insert(&map_handle(object, "target_cgroups")?, &key)
}

/// Opens an object file; `what` begins the message where that fails.
pub(crate) fn open(path: &Path, what: &str) -> Result<OpenObject> {
    verifier_log::capture();
    ObjectBuilder::default()
        .open_file(path)
        .map_err(|error| Error::from_bpf(what, &error, &verifier_log::take()))
}

/// Opens an object that is in memory already; `what` begins the message where that fails.
pub(crate) fn open_bytes(bytes: &[u8], what: &str) -> Result<OpenObject> {
    verifier_log::capture();
    ObjectBuilder::default()
        .open_memory(bytes)
        .map_err(|error| Error::from_bpf(what, &error, &verifier_log::take()))
}

/// Sets the object's `const volatile` settings: the bytes of its section `.rodata.settings`.
pub(crate) fn set_settings(open: &mut OpenObject, bytes: &[u8]) -> Result<()> {
    for mut map in open.maps_mut() {
        let name = map.name().to_string_lossy().into_owned();
        if name.ends_with(".rodata.settings") {
            map.set_initial_value(bytes)
                .map_err(|error| not_configured(&name, error))?;
        }
    }
    Ok(())
}

/// Sets how many entries (for a ring: bytes) the map `wanted` has.
pub(crate) fn set_map_size(open: &mut OpenObject, wanted: &str, entries: u32) -> Result<()> {
    for mut map in open.maps_mut() {
        if map.name() == wanted {
            map.set_max_entries(entries)
                .map_err(|error| not_configured(wanted, error))?;
        }
    }
    Ok(())
}

/// Loads what the plan names and nothing else.
pub(crate) fn load(open: OpenObject, plan: &[PlannedHook], what: &str) -> Result<Object> {
    let names: Vec<_> = plan.iter().map(|hook| hook.program).collect();
    load_programs(open, &names, what)
}

/// Loads the programs of these names and no others.
pub(crate) fn load_programs(mut open: OpenObject, names: &[&str], what: &str) -> Result<Object> {
    for mut program in open.progs_mut() {
        let wanted = names.iter().any(|name| program.name() == *name);
        program.set_autoload(wanted);
    }
    verifier_log::take();
    open.load()
        .map_err(|error| Error::from_bpf(what, &error, &verifier_log::take()))
}

/// Attaches the program of a hook where its section says.
pub(crate) fn attach(object: &Object, hook: &PlannedHook) -> Result<Link> {
    let what = || format!("cannot attach to {} by {}", hook.hook, hook.adapter);
    object
        .progs_mut()
        .find(|program| program.name() == hook.program)
        .ok_or_else(|| {
            Error::new(
                ErrorKind::Failed,
                what(),
                "no such program in the object",
                "install the package again",
            )
        })?
        .attach()
        .map_err(|error| Error::from_bpf(what(), &error, &verifier_log::take()))
}

/// A handle of a loaded map that outlives the object.
pub(crate) fn map_handle(object: &Object, name: &str) -> Result<MapHandle> {
    let missing = |cause: String| {
        Error::new(
            ErrorKind::Failed,
            format!("cannot use map {name}"),
            cause,
            "install the package again",
        )
    };
    let map = object
        .maps()
        .find(|map| map.name() == name)
        .ok_or_else(|| missing("not in the object".to_owned()))?;
    MapHandle::try_from(&map).map_err(|error| missing(error.to_string()))
}

fn insert(map: &MapHandle, key: &[u8]) -> Result<()> {
    map.update(key, &[1], MapFlags::ANY).map_err(|error| {
        Error::new(
            ErrorKind::Failed,
            "cannot fill a filter",
            error,
            "name fewer targets",
        )
    })
}

fn not_configured(map: &str, error: impl std::fmt::Display) -> Error {
    Error::new(
        ErrorKind::Failed,
        format!("cannot configure map {map}"),
        error,
        "",
    )
}
