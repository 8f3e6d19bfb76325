//! What of the environment survives when the launcher carries capabilities.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::fd::{FromRawFd, IntoRawFd};
use std::os::unix::ffi::OsStrExt;

use crate::problem::Problem;

const SAFE_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Harmless for an interpreter: where it is seen, who asks, in which language.
const KEPT: [&str; 15] = [
    "COLORTERM",
    "COLUMNS",
    "COMP_CWORD",
    "COMP_LINE",
    "COMP_POINT",
    "COMP_WORDS",
    "HOME",
    "LANG",
    "LINES",
    "LOGNAME",
    "NO_COLOR",
    "TERM",
    "TZ",
    "USER",
    "_UNIVERSAL_TRACER_COMPLETE",
];

/// Name of the variable that tells the descriptor of a file with the whole original environment, as in
/// `/proc/PID/environ`. The traced command gets that one; Python only reads it as data.
const ORIGINAL: &str = "UNIVERSAL_TRACER_ENVIRONMENT_FD";

type Variable = (OsString, OsString);

/// The variables that are kept, a safe PATH, and the way to the original environment.
pub(crate) fn reduced(original: Vec<Variable>) -> Result<Vec<Variable>, Problem> {
    let descriptor = saved(&original).map_err(|error| {
        Problem::failed(
            "the environment cannot be kept for the traced command",
            error,
            "ulimit -n 1024",
        )
    })?;
    let mut kept: Vec<Variable> = original
        .into_iter()
        .filter(|(name, _)| is_kept(name))
        .collect();
    kept.push(("PATH".into(), SAFE_PATH.into()));
    kept.push((ORIGINAL.into(), descriptor.to_string().into()));
    Ok(kept)
}

fn is_kept(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else {
        return false;
    };
    KEPT.contains(&name) || name.starts_with("LC_") || is_configuration(name)
}

/// `UT_SECTION__KEY`: says no more than a flag could.
fn is_configuration(name: &str) -> bool {
    name.strip_prefix("UT_")
        .and_then(|rest| rest.split_once("__"))
        .is_some_and(|(section, key)| {
            !section.is_empty()
                && !key.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        })
}

/// A file in memory that stays open over `execve`; its descriptor.
fn saved(original: &[Variable]) -> io::Result<i32> {
    // SAFETY: the name is a string that ends with NUL.
    let descriptor = unsafe { libc::memfd_create(c"environment".as_ptr(), 0) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open and nobody else's.
    let mut file = unsafe { std::fs::File::from_raw_fd(descriptor) };
    file.write_all(&as_block(original))?;
    Ok(file.into_raw_fd())
}

fn as_block(variables: &[Variable]) -> Vec<u8> {
    variables
        .iter()
        .flat_map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes(), b"\0"].concat())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek};

    fn is_kept_text(name: &str) -> bool {
        is_kept(OsStr::new(name))
    }

    #[test]
    fn what_describes_the_terminal_and_the_configuration_stays() {
        for name in [
            "HOME",
            "LC_ALL",
            "NO_COLOR",
            "UT_OUTPUT__INTERVAL",
            "UT_HTTP_TRACER__SAMPLING_RATE",
        ] {
            assert!(is_kept_text(name), "{name}");
        }
    }

    #[test]
    fn what_changes_how_programs_run_goes() {
        let dangerous = [
            "LD_PRELOAD",
            "LD_LIBRARY_PATH",
            "PYTHONPATH",
            "PYTHONHOME",
            "PATH",
            "GCONV_PATH",
            "MALLOC_CONF",
            "POLARS_MAX_THREADS",
            "SSL_CERT_FILE",
            "UT_",
            "UT_X",
            "UT___X",
            "UT_A__",
            "UT_A__B C",
            "LC",
            "SUDO_UID",
            ORIGINAL,
        ];
        for name in dangerous {
            assert!(!is_kept_text(name), "{name}");
        }
        assert!(!is_kept(OsStr::from_bytes(b"LC_\xff")));
    }

    #[test]
    fn the_original_environment_can_be_read_back() {
        let original = vec![
            ("A".into(), "1=2".into()),
            (OsString::from("PATH"), OsString::new()),
        ];
        let kept = reduced(original)
            .map_err(|problem| format!("{problem:?}"))
            .unwrap_or_default();
        assert!(kept.contains(&("PATH".into(), SAFE_PATH.into())));
        let descriptor = kept
            .iter()
            .find(|(name, _)| name == ORIGINAL)
            .and_then(|(_, text)| text.to_str()?.parse().ok());
        // SAFETY: the descriptor was just made for this test.
        let mut file = unsafe { std::fs::File::from_raw_fd(descriptor.unwrap_or(-1)) };
        let mut text = String::new();
        assert!(
            file.rewind()
                .and_then(|()| file.read_to_string(&mut text))
                .is_ok()
        );
        assert_eq!(text, "A=1=2\0PATH=\0");
    }
}
