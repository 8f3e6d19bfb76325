//! The processes that own local sockets, by their thread group, as the kernel's program saw them.

use std::collections::HashMap;

use libbpf_rs::{MapCore, MapFlags, MapHandle};

/// NOBODY of `bpf/include/xdp_owner.h`.
const NOBODY: u32 = u32::MAX;
/// MAX_OWNERS there; what is remembered here is bounded alike.
const REMEMBERED: usize = 4096;

/// Names of processes that may be gone already.
#[derive(Debug)]
pub(crate) struct Owners {
    map: MapHandle,
    names: HashMap<u32, Option<String>>,
}

impl Owners {
    pub(crate) fn new(map: MapHandle) -> Self {
        Self {
            map,
            names: HashMap::new(),
        }
    }

    /// The owner as an entry of the flow table has it: its pid and its name; `None` where it is not known.
    pub(crate) fn find(&mut self, pid: u32) -> Option<(u32, Option<&str>)> {
        if pid == 0 || pid == NOBODY {
            return None;
        }
        if self.names.len() >= REMEMBERED {
            self.names.clear();
        }
        let map = &self.map;
        let name = self.names.entry(pid).or_insert_with(|| name_in(map, pid));
        Some((pid, name.as_deref()))
    }
}

fn name_in(map: &MapHandle, pid: u32) -> Option<String> {
    let comm = map.lookup(&pid.to_ne_bytes(), MapFlags::ANY).ok()??;
    let end = comm
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(comm.len());
    Some(String::from_utf8_lossy(&comm[..end]).into_owned())
}
