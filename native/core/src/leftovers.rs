//! Programs of this tracer that are in the kernel already: another run's, or left by one that has gone.
//!
//! A program is taken for ours by its name together with the names of tables that it uses: one name alone is
//! used by others, too.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::time::Duration;

use libbpf_rs::query::{
    LinkInfoIter, LinkTypeInfo, MapInfoIter, ProgInfoIter, ProgInfoQueryOptions,
};
use libbpf_rs::{Link, Program};

use crate::error::{Error, ErrorKind, Result};
use crate::verifier_log;

/// So many tables have to bear our names, too.
const TABLES_IN_COMMON: usize = 2;
const FREEING: Duration = Duration::from_millis(20);
const FREEING_LOOKS: u32 = 15;

/// A program of this tracer, where it is attached and who keeps it.
#[derive(Clone, Debug, Default)]
pub struct FoundProgram {
    pub id: u32,
    pub name: String,
    /// Interfaces (by index) to which a link attaches it.
    pub interfaces: Vec<u32>,
    /// Processes with a descriptor of it or of its link; empty where none can be seen.
    pub holders: Vec<u32>,
}

/// Finds programs by the names (as the kernel keeps them: 15 bytes) of ours and of our tables.
///
/// # Errors
/// [`ErrorKind::Privilege`] where the kernel does not list its programs to us.
pub fn find(programs: &[String], tables: &[String]) -> Result<Vec<FoundProgram>> {
    require_listing()?;
    let mut found = look(programs, tables);
    // The kernel frees programs a moment after their last user has gone.
    for _ in 0..FREEING_LOOKS {
        if found.iter().all(FoundProgram::is_in_use) {
            break;
        }
        std::thread::sleep(FREEING);
        found = look(programs, tables);
    }
    Ok(found)
}

impl FoundProgram {
    fn is_in_use(&self) -> bool {
        !self.holders.is_empty()
    }
}

fn look(programs: &[String], tables: &[String]) -> Vec<FoundProgram> {
    let ours = own_map_ids(tables);
    let options = ProgInfoQueryOptions::default().include_map_ids(true);
    let mut found: BTreeMap<u32, FoundProgram> = ProgInfoIter::with_query_opts(options)
        .filter(|program| programs.iter().any(|name| program.name == **name))
        .filter(|program| {
            let in_common = program.map_ids.iter().filter(|id| ours.contains(id));
            in_common.count() >= TABLES_IN_COMMON
        })
        .map(|program| {
            let name = program.name.to_string_lossy().into_owned();
            let id = program.id;
            (
                id,
                FoundProgram {
                    id,
                    name,
                    ..FoundProgram::default()
                },
            )
        })
        .collect();
    if !found.is_empty() {
        add_interfaces(&mut found);
        add_holders(&mut found);
    }
    found.into_values().collect()
}

/// The iterators end silently where the kernel refuses: asked once, loudly.
fn require_listing() -> Result<()> {
    let mut first = 0;
    // SAFETY: the call writes one number, which lives here.
    let result = unsafe { libbpf_rs::libbpf_sys::bpf_prog_get_next_id(0, &raw mut first) };
    if result == 0 || result == -libc::ENOENT {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Privilege,
        "cannot list the kernel's programs",
        std::io::Error::from_raw_os_error(-result),
        "run as root, or with CAP_SYS_ADMIN",
    ))
}

fn own_map_ids(tables: &[String]) -> BTreeSet<u32> {
    MapInfoIter::default()
        .filter(|map| tables.iter().any(|name| map.name == **name))
        .map(|map| map.id)
        .collect()
}

fn add_interfaces(found: &mut BTreeMap<u32, FoundProgram>) {
    for link in LinkInfoIter::default() {
        let index = match link.info {
            LinkTypeInfo::Xdp(info) => info.ifindex,
            LinkTypeInfo::Tcx(info) => info.ifindex,
            _ => continue,
        };
        if let Some(program) = found.get_mut(&link.prog_id) {
            program.interfaces.push(index);
        }
    }
}

/// The kernel tells in /proc/PID/fdinfo which program a descriptor means.
fn add_holders(found: &mut BTreeMap<u32, FoundProgram>) {
    for pid in numbers_in(Path::new("/proc")) {
        for text in fdinfo_of(pid) {
            let program = program_id(&text).and_then(|id| found.get_mut(&id));
            if let Some(program) = program.filter(|program| !program.holders.contains(&pid)) {
                program.holders.push(pid);
            }
        }
    }
}

/// Of descriptors that are no files, sockets or pipes: only those can be programs or links.
fn fdinfo_of(pid: u32) -> impl Iterator<Item = String> {
    let descriptors = numbers_in(Path::new(&format!("/proc/{pid}/fd")));
    descriptors.into_iter().filter_map(move |descriptor| {
        let target = fs::read_link(format!("/proc/{pid}/fd/{descriptor}")).ok()?;
        target.to_str()?.contains("bpf").then_some(())?;
        fs::read_to_string(format!("/proc/{pid}/fdinfo/{descriptor}")).ok()
    })
}

fn numbers_in(folder: &Path) -> Vec<u32> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// The program that a file below /sys/fs/bpf pins, directly or by a link.
pub fn pinned_program(path: &Path) -> Option<u32> {
    verifier_log::capture();
    let program = Program::fd_from_pinned_path(path).ok();
    // Closing a link that was opened by its path leaves it attached: the path keeps it.
    let descriptor =
        program.or_else(|| Link::open(path).ok()?.as_fd().try_clone_to_owned().ok())?;
    let number = descriptor.as_raw_fd();
    program_id(&fs::read_to_string(format!("/proc/self/fdinfo/{number}")).ok()?)
}

fn program_id(fdinfo: &str) -> Option<u32> {
    let id = fdinfo
        .lines()
        .find_map(|line| line.strip_prefix("prog_id:"))?;
    id.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{pinned_program, program_id};
    use std::path::Path;

    #[test]
    fn descriptors_tell_their_program() {
        let of_link = "pos:\t0\nlink_type:\ttracing\nlink_id:\t7\nprog_id:\t42\n";
        assert_eq!(program_id(of_link), Some(42));
        assert_eq!(program_id("pos:\t0\nmap_type:\t1\n"), None);
    }

    #[test]
    fn an_ordinary_file_pins_nothing() {
        assert_eq!(pinned_program(Path::new("/proc/self/status")), None);
        assert_eq!(pinned_program(Path::new("/nonexistent")), None);
    }
}
