//! Processes to trace: a pid means that process and all its descendants.

use std::collections::HashMap;
use std::fs;

use libbpf_rs::{MapCore, MapFlags, MapHandle};

use crate::error::{Error, ErrorKind, Result};

/// The kernel's map `targets` (thread group → present).
#[derive(Debug)]
pub(crate) struct Targets {
    map: MapHandle,
}

impl Targets {
    pub(crate) fn new(map: MapHandle) -> Self {
        Self { map }
    }

    /// Adds `pid` first and its present descendants then: children born in between
    /// are added by the kernel, which follows forks of targets already.
    pub(crate) fn add(&self, pid: u32) -> Result<()> {
        if !is_alive(pid) {
            return Err(Error::new(
                ErrorKind::Target,
                format!("no process {pid}"),
                format!("/proc/{pid} does not exist"),
                "ps -e lists the processes that run",
            ));
        }
        self.insert(pid)?;
        for child in descendants(pid) {
            self.insert(child)?;
        }
        Ok(())
    }

    fn insert(&self, pid: u32) -> Result<()> {
        self.map
            .update(&pid.to_ne_bytes(), &[1], MapFlags::ANY)
            .map_err(|error| {
                Error::new(
                    ErrorKind::Failed,
                    format!("cannot trace process {pid}"),
                    error,
                    "name fewer processes",
                )
            })
    }

    /// Targets that still run.
    pub(crate) fn alive(&self) -> Vec<u32> {
        let key = |bytes: Vec<u8>| bytes.first_chunk().map(|four| u32::from_ne_bytes(*four));
        self.map
            .keys()
            .filter_map(key)
            .filter(|&pid| is_alive(pid))
            .collect()
    }
}

/// Whether a thread group exists and is not a zombie.
fn is_alive(pid: u32) -> bool {
    fs::read(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !matches!(fields_behind_comm(&stat).first(), None | Some(&"Z" | &"X")))
}

/// The fields of /proc/PID/stat from the state on; comm may hold spaces and brackets.
fn fields_behind_comm(stat: &[u8]) -> Vec<&str> {
    let start = stat
        .iter()
        .rposition(|&byte| byte == b')')
        .map_or(stat.len(), |at| at + 1);
    std::str::from_utf8(&stat[start..])
        .unwrap_or("")
        .split_ascii_whitespace()
        .collect()
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    fields_behind_comm(&stat).get(1)?.parse().ok()
}

fn descendants(root: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()) {
        if let Some(parent) = parent_of(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = Vec::new();
    let mut open = vec![root];
    while let Some(pid) = open.pop() {
        if let Some(mut next) = children.remove(&pid) {
            found.extend_from_slice(&next);
            open.append(&mut next);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{descendants, fields_behind_comm, is_alive};

    #[test]
    fn a_comm_with_brackets_does_not_shift_the_fields() {
        assert_eq!(fields_behind_comm(b"7 (a) b) S 4 7"), ["S", "4", "7"]);
        assert!(fields_behind_comm(b"").is_empty());
    }

    #[test]
    fn a_child_is_a_descendant() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .expect("sleep starts");
        assert!(descendants(std::process::id()).contains(&child.id()));
        assert!(is_alive(child.id()));
        child.kill().expect("sleep ends");
        let ended = (0..1000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(5));
            !is_alive(child.id())
        });
        assert!(ended, "a zombie counts as ended");
        child.wait().expect("sleep is reaped");
    }
}
