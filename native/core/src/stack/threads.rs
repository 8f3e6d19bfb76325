//! The threads whose waits are measured: the kernel's table, which only userspace, fork and exec add to.

use std::fs;

use libbpf_rs::{MapCore, MapFlags, MapHandle};

/// `struct watched_thread` of `bpf/include/stack_off_cpu.h`.
const VALUE_BYTES: usize = 64 + 32 * 8;

/// The kernel's map `watched_threads`.
#[derive(Debug)]
pub(crate) struct WatchedThreads {
    map: MapHandle,
    own_pid: u32,
}

impl WatchedThreads {
    pub(crate) fn new(map: MapHandle, own_pid: u32) -> Self {
        Self { map, own_pid }
    }

    /// Watches all threads that a process has now; those that it starts later are added by the kernel.
    pub(crate) fn watch(&self, pid: u32) {
        if pid == self.own_pid {
            return;
        }
        let tasks = fs::read_dir(format!("/proc/{pid}/task"));
        for tid in tasks.into_iter().flatten().flatten() {
            let tid = tid.file_name().to_str().and_then(|name| name.parse().ok());
            if let Some(tid) = tid {
                self.insert(tid);
            }
        }
    }

    /// Watches every thread of the machine but the own ones.
    pub(crate) fn watch_all(&self) {
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        for pid in processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()) {
            self.watch(pid);
        }
    }

    /// A thread that is watched keeps its sums. Where the table is full, the kernel's part counts losses.
    fn insert(&self, tid: u32) {
        let _ = self
            .map
            .update(&tid.to_ne_bytes(), &[0; VALUE_BYTES], MapFlags::NO_EXIST);
    }
}
