//! What can go wrong in the core, with cause and remedy.

/// Decides the exit code of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// A right is missing.
    Privilege,
    /// The kernel lacks something needed.
    Kernel,
    /// The process, cgroup or name to trace does not exist.
    Target,
    /// Anything else.
    Failed,
}

impl ErrorKind {
    /// The name that Python sees.
    pub fn name(self) -> &'static str {
        match self {
            Self::Privilege => "privilege",
            Self::Kernel => "kernel",
            Self::Target => "target",
            Self::Failed => "failed",
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
        }
    }

    /// A failed call into the BPF system call: lack of privilege is told apart from the rest.
    pub fn from_bpf(what: impl Into<String>, error: &libbpf_rs::Error, log: &str) -> Self {
        let cause = if log.is_empty() {
            format!("{error:#}")
        } else {
            format!("{error:#}: {log}")
        };
        match error.kind() {
            libbpf_rs::ErrorKind::PermissionDenied => Self::new(
                ErrorKind::Privilege,
                what,
                cause,
                "run as root, or with CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN",
            ),
            _ => Self::new(
                ErrorKind::Kernel,
                what,
                cause,
                "run again with -v for the verifier's whole log",
            ),
        }
    }
}
