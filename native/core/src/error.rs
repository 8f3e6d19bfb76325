//! What can go wrong in the core, with cause and remedy.

use crate::verifier_log::KernelLog;

/// Decides the exit code of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// A right is missing.
    Privilege,
    /// The kernel lacks something needed.
    Kernel,
    /// The process, cgroup or name to trace does not exist.
    Target,
    /// What was asked for is wrong in itself.
    Usage,
    /// Anything else.
    Failed,
    /// What should never happen.
    Bug,
}

impl ErrorKind {
    /// The name that Python sees.
    pub fn name(self) -> &'static str {
        match self {
            Self::Privilege => "privilege",
            Self::Kernel => "kernel",
            Self::Target => "target",
            Self::Usage => "usage",
            Self::Failed => "failed",
            Self::Bug => "bug",
        }
    }
}

/// What failed, why, and the remedy, each one line.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{what}: {cause}")]
pub struct Error {
    pub kind: ErrorKind,
    pub what: String,
    pub cause: String,
    pub hint: String,
    /// What the kernel and libbpf said in full, for `-v`; the end of it where it is long.
    pub log: Vec<String>,
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error with all its parts.
    pub fn new(
        kind: ErrorKind,
        what: impl Into<String>,
        cause: impl ToString,
        hint: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            what: what.into(),
            cause: cause.to_string(),
            hint: hint.into(),
            log: Vec::new(),
        }
    }

    /// A failed BPF system call: what the verifier refused and lack of privilege and memory are told apart.
    pub fn from_bpf(what: impl Into<String>, error: &libbpf_rs::Error, log: &KernelLog) -> Self {
        let (kind, hint) = match error.kind() {
            // the verifier refuses with "permission denied", too
            _ if log.is_rejection() => (ErrorKind::Kernel, "universal-tracer doctor -v"),
            libbpf_rs::ErrorKind::PermissionDenied => (
                ErrorKind::Privilege,
                "run as root, or with CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN",
            ),
            libbpf_rs::ErrorKind::OutOfMemory => (
                ErrorKind::Failed,
                "universal-tracer doctor says what the tables take",
            ),
            _ => (ErrorKind::Kernel, "universal-tracer doctor -v"),
        };
        let mut told = Self::new(kind, what, cause_of(error, log), hint);
        told.log.clone_from(&log.lines);
        told
    }
}

/// The verifier's verdict where there is one: the system call's own error says nothing more. Without the right
/// to load anything, libbpf guesses at other reasons, which lead astray.
fn cause_of(error: &libbpf_rs::Error, log: &KernelLog) -> String {
    let said = match error.kind() {
        libbpf_rs::ErrorKind::PermissionDenied if !log.is_rejection() => "",
        _ => log.last_useful_line(),
    };
    let more = match log.lines.len() {
        0 | 1 => String::new(),
        lines => format!(" ({} more lines with -v)", lines - 1),
    };
    match (log.is_rejection(), said) {
        (true, _) => format!("the verifier says: {said}{more}"),
        (false, "") => format!("{error:#}"),
        (false, _) => format!("{error:#}: {said}{more}"),
    }
}
