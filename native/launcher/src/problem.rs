//! What went wrong, as three lines on standard error.

use std::ffi::CString;
use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;

const FAILED: i32 = 1;
const NO_PRIVILEGE: i32 = 4;

/// An error for the user: what, why, the command that mends it, and the exit code.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    what: String,
    cause: String,
    hint: String,
    code: i32,
}

impl Problem {
    pub(crate) fn failed(what: &str, cause: impl Display, hint: impl Display) -> Problem {
        Problem {
            what: what.into(),
            cause: cause.to_string(),
            hint: hint.to_string(),
            code: FAILED,
        }
    }

    /// The capabilities of the launcher cannot be used.
    pub(crate) fn refused(cause: impl Display, hint: impl Display) -> Problem {
        Problem {
            what: "this universal-tracer carries capabilities, and using them is not safe".into(),
            cause: cause.to_string(),
            hint: hint.to_string(),
            code: NO_PRIVILEGE,
        }
    }

    pub(crate) fn not_started(program: Option<&CString>, error: io::Error) -> Problem {
        let program = program
            .map(|path| path.to_string_lossy())
            .unwrap_or_default();
        Problem::failed(
            "the interpreter cannot be started",
            format!("{program}: {error}"),
            "make setup",
        )
    }

    pub(crate) fn unreadable(path: &Path, error: &io::Error) -> Problem {
        Problem::refused(format!("{}: {error}", path.display()), "make setup")
    }

    /// Prints the error; returns the exit code. A closed standard error is no reason to fail differently.
    pub(crate) fn report(&self) -> i32 {
        let lines = format!(
            "error: {}\ncause: {}\nhint: {}\n",
            self.what, self.cause, self.hint
        );
        let _ = io::stderr().write_all(lines.as_bytes());
        self.code
    }
}
