//! The processes that own local sockets, as the kernel's programs saw them.

use std::collections::HashMap;

use libbpf_rs::{MapCore, MapFlags, MapHandle};

use super::records::{FlowEntry, FlowOwner, OWNER_KNOWN, SocketOwner};

/// MAX_OWNERS of `bpf/include/xdp_owner.h`; what is remembered here is bounded alike.
const REMEMBERED: usize = 4096;

/// Names of processes that may be gone already, and sockets of which more is known by now.
#[derive(Debug)]
pub(crate) struct Owners {
    names_map: MapHandle,
    sockets_map: MapHandle,
    names: HashMap<u32, Option<String>>,
}

impl Owners {
    /// `names`: the map `owners`; `sockets`: the map `socket_owners`.
    pub(crate) fn new(names: MapHandle, sockets: MapHandle) -> Self {
        Self {
            names_map: names,
            sockets_map: sockets,
            names: HashMap::new(),
        }
    }

    /// Whose an entry of the flow table is; `pid` is 0 where nobody is known.
    pub(crate) fn of(&self, entry: &FlowEntry) -> FlowOwner {
        let is_settled = entry.owner.state >= OWNER_KNOWN && entry.owner.wanted != 0;
        if is_settled || entry.socket == 0 {
            return entry.owner;
        }
        let key = entry.socket.to_ne_bytes();
        let found = self.sockets_map.lookup(&key, MapFlags::ANY);
        let record = found.ok().flatten().unwrap_or_default();
        match SocketOwner::split_from(&record) {
            Some((owner, _)) => FlowOwner {
                pid: owner.pid,
                state: OWNER_KNOWN,
                wanted: u8::from(owner.wanted != 0),
                ..entry.owner
            },
            None => entry.owner,
        }
    }

    /// What a process is or was called; `None` where it is not known.
    pub(crate) fn name(&mut self, pid: u32) -> Option<&str> {
        if self.names.len() >= REMEMBERED {
            self.names.clear();
        }
        let map = &self.names_map;
        let name = self.names.entry(pid).or_insert_with(|| name_in(map, pid));
        name.as_deref()
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
