//! For whom functions are looked up: a path means the file that it names there.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::libraries;

/// Processes whose mappings are read; what more of them run is nothing new.
const MAX_PROCESSES: usize = 4096;

/// The processes that are to be traced.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Empty: the whole machine, as this process sees it.
    pub pids: Vec<u32>,
    /// The program of a command that does not run yet: it and its libraries stand for what the targets run.
    pub program: Option<PathBuf>,
}

/// A file of the scope.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct ScopeFile {
    /// Readable by this process.
    pub(super) path: PathBuf,
    /// As the user and the processes have it.
    pub(super) name: String,
    /// Where the processes' file system begins, for files that belong to this one.
    pub(super) root: PathBuf,
}

impl ScopeFile {
    /// A file of this process's own file system.
    fn own(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            name: path.to_string_lossy().into_owned(),
            root: PathBuf::from("/"),
        }
    }

    pub(super) fn base_name(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or(&self.name)
    }
}

/// Files without repetition: the same one is seen by many processes, under several paths.
#[derive(Default)]
struct Distinct {
    seen: Vec<(u64, u64)>,
    files: Vec<ScopeFile>,
}

impl Distinct {
    fn add(&mut self, file: ScopeFile) {
        let Some(key) = identity(&file.path) else {
            return;
        };
        if !self.seen.contains(&key) {
            self.seen.push(key);
            self.files.push(file);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let about = fs::metadata(path).ok()?;
    Some((about.dev(), about.ino()))
}

impl Scope {
    /// The files that an absolute path names for the processes: one each, where they see different ones.
    pub(super) fn files(&self, name: &str) -> Vec<ScopeFile> {
        let mut found = Distinct::default();
        for &pid in &self.pids {
            let file = of_process(pid, name);
            // what it runs of a file that was replaced since
            let replaced = |file: &ScopeFile| file.name == name && is_by_mapping(file);
            mapped_by(pid)
                .into_iter()
                .filter(replaced)
                .for_each(|file| found.add(file));
            found.add(file);
        }
        match self.pids.first() {
            _ if !found.files.is_empty() => found.files,
            // it is not there, which opening it will tell
            Some(&pid) => vec![of_process(pid, name)],
            None => vec![ScopeFile::own(Path::new(name))],
        }
    }

    /// The programs and libraries that the processes run.
    pub(super) fn running(&self) -> Vec<ScopeFile> {
        let mut found = Distinct::default();
        if let Some(program) = &self.program {
            libraries::with_libraries(program)
                .iter()
                .for_each(|path| found.add(ScopeFile::own(path)));
        }
        for &pid in self.pids.iter().take(MAX_PROCESSES) {
            mapped_by(pid).into_iter().for_each(|file| found.add(file));
        }
        found.files
    }

    /// The files that a name without a path means: what the processes run, else what would be found for a new process.
    pub(super) fn named(&self, name: &str) -> Vec<ScopeFile> {
        let running = self.running().into_iter();
        let found: Vec<_> = running
            .filter(|file| libraries::is_called(file.base_name(), name))
            .collect();
        if !found.is_empty() {
            return found;
        }
        let mut installed = Distinct::default();
        libraries::installed(name)
            .iter()
            .for_each(|path| installed.add(ScopeFile::own(path)));
        installed.files
    }
}

/// A path as a process sees it; the plain one where that is the same file.
fn of_process(pid: u32, name: &str) -> ScopeFile {
    let root = PathBuf::from(format!("/proc/{pid}/root"));
    let path = PathBuf::from(format!("{}{name}", root.display()));
    let key = identity(&path);
    if key.is_some() && key == identity(Path::new(name)) {
        return ScopeFile::own(Path::new(name));
    }
    ScopeFile {
        path,
        name: name.to_owned(),
        root,
    }
}

const DELETED: &str = " (deleted)";

/// The files whose code a process has mapped.
fn mapped_by(pid: u32) -> Vec<ScopeFile> {
    let maps = fs::read(format!("/proc/{pid}/maps")).unwrap_or_default();
    let maps = String::from_utf8_lossy(&maps);
    let mut names: Vec<&str> = Vec::new();
    let mut files = Vec::new();
    for line in maps.lines() {
        // START-END PERMISSIONS OFFSET DEVICE INODE   PATH
        let mut parts = line.splitn(6, ' ');
        let (Some(range), Some(permissions)) = (parts.next(), parts.next()) else {
            continue;
        };
        let name = parts.nth(3).unwrap_or_default().trim_start();
        if !permissions.contains('x') || !name.starts_with('/') || names.contains(&name) {
            continue;
        }
        names.push(name);
        files.push(match name.strip_suffix(DELETED) {
            Some(name) => ScopeFile {
                path: PathBuf::from(format!("/proc/{pid}/map_files/{range}")),
                name: name.to_owned(),
                root: PathBuf::from(format!("/proc/{pid}/root")),
            },
            None => of_process(pid, name),
        });
    }
    files
}

fn is_by_mapping(file: &ScopeFile) -> bool {
    file.path.to_string_lossy().contains("/map_files/")
}

#[cfg(test)]
mod tests {
    use super::{Scope, ScopeFile};

    fn own() -> Scope {
        Scope {
            pids: vec![std::process::id()],
            ..Scope::default()
        }
    }

    #[test]
    fn this_process_runs_this_program() {
        let program = std::env::current_exe().expect("this program");
        let running = own().running();
        assert!(running.contains(&ScopeFile::own(&program)), "{running:?}");
        assert!(running.iter().any(|file| file.base_name() == "libc.so.6"));
    }

    #[test]
    fn a_library_by_its_short_name() {
        for name in ["libc", "c", "libc.so.6"] {
            let found = own().named(name);
            assert_eq!(found.len(), 1, "{name}: {found:?}");
            assert_eq!(found[0].base_name(), "libc.so.6");
        }
        assert!(own().named("libnobodyhas").is_empty());
    }

    #[test]
    fn what_a_process_sees_under_the_same_path_is_that_path() {
        let program = std::env::current_exe().expect("this program");
        let name = program.to_str().expect("a path in UTF-8");
        assert_eq!(own().files(name), [ScopeFile::own(&program)]);
    }
}
