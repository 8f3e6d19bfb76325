//! For whom functions are looked up: a path means the file that it names there.

use std::path::PathBuf;

/// The processes that are to be traced.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Empty: the whole machine, as this process sees it.
    pub pids: Vec<u32>,
}

/// A file of the scope.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct ScopeFile {
    /// Readable by this process.
    pub(super) path: PathBuf,
    /// As the user and the processes have it.
    pub(super) name: String,
}

impl Scope {
    /// The files that an absolute path names for the processes: one each, where they see different ones.
    pub(super) fn files(&self, name: &str) -> Vec<ScopeFile> {
        vec![ScopeFile {
            path: PathBuf::from(name),
            name: name.to_owned(),
        }]
    }
}
