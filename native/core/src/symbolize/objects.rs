//! Files that are mapped into processes: each opened once and held, so that it outlives unlinking and replacing.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use object::ReadCache;

use super::process::Region;
use super::vdso;

/// One file of code.
#[derive(Debug)]
pub struct ObjectFile {
    /// Never used again for another file.
    pub id: u32,
    /// As the process has it.
    pub path: String,
    file: Option<File>,
}

impl ObjectFile {
    /// What is no file of its own.
    pub(super) fn in_memory(id: u32, name: &str, file: File) -> Self {
        Self {
            id,
            path: name.to_owned(),
            file: Some(file),
        }
    }

    /// The file under a path that stays right whatever happens to its name; `None` where it could not be opened.
    pub fn open_path(&self) -> Option<PathBuf> {
        let descriptor = self.file.as_ref()?.as_raw_fd();
        Some(PathBuf::from(format!("/proc/self/fd/{descriptor}")))
    }

    /// A reader of the file with a position of its own. It reads what is asked for: a file that somebody cuts short
    /// meanwhile is an error then, where a mapping of it would end the program.
    pub fn reader(&self) -> Option<ReadCache<File>> {
        Some(ReadCache::new(File::open(self.open_path()?).ok()?))
    }

    /// The last part of the path.
    pub fn base_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

/// What tells two files apart.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Key {
    device: String,
    inode: u64,
    path: String,
}

/// All files that some process has mapped; one that no process has any more is closed.
#[derive(Debug)]
pub struct Objects {
    known: HashMap<Key, Weak<ObjectFile>>,
    next_id: u32,
    vdso: Option<Arc<ObjectFile>>,
}

impl Default for Objects {
    fn default() -> Self {
        Self {
            known: HashMap::new(),
            next_id: 0,
            vdso: vdso::own().map(Arc::new),
        }
    }
}

/// Known files before those that are closed are forgotten.
const SWEEP_AT: usize = 1024;

impl Objects {
    /// The kernel's own code in every process.
    pub(super) fn vdso(&self) -> Option<Arc<ObjectFile>> {
        self.vdso.clone()
    }

    /// The file behind a region of `pid`.
    pub(super) fn find(&mut self, pid: u32, region: &Region<'_>) -> Arc<ObjectFile> {
        let key = Key {
            device: region.device.to_owned(),
            inode: region.inode,
            path: region.path.to_owned(),
        };
        if let Some(known) = self.known.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        if self.known.len() >= SWEEP_AT {
            self.known.retain(|_, object| object.strong_count() > 0);
        }
        let object = self.make(pid, region);
        self.known.insert(key, Arc::downgrade(&object));
        object
    }

    fn make(&mut self, pid: u32, region: &Region<'_>) -> Arc<ObjectFile> {
        let path = region
            .path
            .strip_suffix(" (deleted)")
            .unwrap_or(region.path);
        self.next_id += 1;
        Arc::new(ObjectFile {
            id: self.next_id,
            path: path.to_owned(),
            file: open(pid, region, path),
        })
    }
}

/// By the mapping itself, which is right for deleted files and in other mount namespaces; else by name: that of a
/// process that has ended is looked for here.
fn open(pid: u32, region: &Region<'_>, path: &str) -> Option<File> {
    let by_mapping = format!("/proc/{pid}/map_files/{:x}-{:x}", region.start, region.end);
    File::open(by_mapping)
        .or_else(|_| File::open(format!("/proc/{pid}/root{path}")))
        .ok()
        .or_else(|| own_file(path, region.inode))
}

/// The file of that name here, if it is the same one. Devices are told differently for some file systems.
fn own_file(path: &str, inode: u64) -> Option<File> {
    // a named pipe would wait for somebody who writes to it
    let is_it = |metadata: std::fs::Metadata| metadata.is_file() && metadata.ino() == inode;
    std::fs::metadata(path)
        .ok()
        .filter(|metadata| is_it(metadata.clone()))?;
    let file = File::open(path).ok()?;
    file.metadata().is_ok_and(is_it).then_some(file)
}
