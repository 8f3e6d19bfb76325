//! Where the virtual environment is, and how it is run.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::problem::Problem;

/// `DIRECTORY/build/universal-tracer` belongs to `DIRECTORY/.venv`.
#[derive(Debug)]
pub(crate) struct Installation {
    /// This program, links resolved.
    pub(crate) launcher: PathBuf,
    /// User id of the launcher's owner.
    pub(crate) owner: u32,
    pub(crate) venv: PathBuf,
}

impl Installation {
    pub(crate) fn beside_this_program() -> Result<Installation, Problem> {
        let launcher = fs::read_link("/proc/self/exe").map_err(|error| {
            Problem::failed(
                "universal-tracer does not find itself",
                error,
                "mount -t proc proc /proc",
            )
        })?;
        Installation::of(launcher)
    }

    pub(crate) fn of(launcher: PathBuf) -> Result<Installation, Problem> {
        let missing = |path: &Path| {
            let parent = launcher
                .parent()
                .and_then(Path::parent)
                .unwrap_or(Path::new("."));
            Problem::failed(
                "the virtual environment of universal-tracer is missing",
                format!("no {}", path.display()),
                format!("make -C {} setup", parent.display()),
            )
        };
        let owner = fs::metadata(&launcher)
            .map_err(|_| missing(&launcher))?
            .uid();
        let venv = venv_of(&launcher).ok_or_else(|| missing(Path::new(".venv")))?;
        let installation = Installation {
            launcher: launcher.clone(),
            owner,
            venv,
        };
        for needed in [installation.interpreter(), installation.script()] {
            if !needed.exists() {
                return Err(missing(&needed));
            }
        }
        Ok(installation)
    }

    /// Not resolved further: Python finds its environment by the path it is called by.
    pub(crate) fn interpreter(&self) -> PathBuf {
        self.venv.join("bin/python")
    }

    pub(crate) fn script(&self) -> PathBuf {
        self.venv.join("bin/universal-tracer")
    }

    /// `-I`: neither the user's Python variables and packages nor the current directory count.
    /// `-B`: nobody but the owner leaves compiled files in the owner's tree.
    pub(crate) fn command_line(&self, arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
        // SAFETY: the call has no arguments and cannot fail.
        let user = unsafe { libc::geteuid() };
        let flag = if user == self.owner { "-I" } else { "-IB" };
        [self.interpreter().into(), flag.into(), self.script().into()]
            .into_iter()
            .chain(arguments)
            .collect()
    }
}

fn venv_of(launcher: &Path) -> Option<PathBuf> {
    Some(launcher.parent()?.parent()?.join(".venv"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_beside_the_folder_of_the_launcher() {
        let found = venv_of(Path::new("/opt/tracer/build/universal-tracer"));
        assert_eq!(found, Some(PathBuf::from("/opt/tracer/.venv")));
        assert_eq!(venv_of(Path::new("/")), None);
    }

    #[test]
    fn arguments_follow_the_script_as_they_are() {
        let installation = Installation {
            launcher: "/o/build/t".into(),
            owner: u32::MAX,
            venv: "/o/.venv".into(),
        };
        let line = installation.command_line(["--pid".into(), "".into()].into_iter());
        assert_eq!(
            line,
            [
                "/o/.venv/bin/python",
                "-IB",
                "/o/.venv/bin/universal-tracer",
                "--pid",
                ""
            ]
        );
    }

    #[test]
    fn a_missing_environment_is_told_with_the_command_that_makes_it() {
        let problem = Installation::of(PathBuf::from("/nonexistent/build/universal-tracer"));
        let text = format!("{problem:?}");
        assert!(text.contains("make -C /nonexistent setup"), "{text}");
    }
}
