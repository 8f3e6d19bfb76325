//! `universal-tracer` as an executable file: runs the virtual environment beside it.
//!
//! A script cannot carry file capabilities, and a virtual environment's `python` is a link to an
//! interpreter that everybody uses. This program can carry them: it checks that nobody but root and its
//! owner could have changed what it is about to run, hands its capabilities on and keeps of the
//! environment only what is harmless. Without capabilities it changes nothing at all: arguments,
//! environment, signals, directory and open files pass through.
//!
//! `main` is C's, not Rust's, because Rust's own start-up would ignore SIGPIPE and open closed standard
//! files, which the traced command would inherit.
#![cfg_attr(not(test), no_main)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
// Under `cargo test` nothing calls what only `main` uses.
#![cfg_attr(test, allow(dead_code))]

mod capabilities;
mod environment;
mod installation;
mod problem;
mod trust;

use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStringExt;
use std::ptr;

use installation::Installation;
use problem::Problem;

/// The program's entry. `argv` is what the kernel gave.
///
/// # Safety
///
/// To be called by the C library only: `argv` ends with a null pointer and its strings with NUL.
#[cfg(not(test))]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn main(
    _argc: libc::c_int,
    _argv: *const *const libc::c_char,
) -> libc::c_int {
    match run() {
        Ok(never) => match never {},
        Err(problem) => problem.report(),
    }
}

/// Becomes the interpreter; returns only when that fails.
fn run() -> Result<std::convert::Infallible, Problem> {
    let installation = Installation::beside_this_program()?;
    let original: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    let environment = if capabilities::gained_from_file()? {
        trust::check(&installation)?;
        capabilities::raise_ambient()?;
        environment::reduced(original)?
    } else {
        original
    };
    let arguments = installation.command_line(std::env::args_os().skip(1));
    execute(arguments, environment)
}

fn execute(
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
) -> Result<std::convert::Infallible, Problem> {
    let arguments = c_strings(arguments);
    let environment = c_strings(environment.into_iter().map(|(mut name, value)| {
        name.push("=");
        name.push(value);
        name
    }));
    let argument_pointers = null_terminated(&arguments);
    let environment_pointers = null_terminated(&environment);
    if let Some(program) = arguments.first() {
        // SAFETY: both arrays end with a null pointer, and the strings that they point to outlive the call.
        unsafe {
            libc::execve(
                program.as_ptr(),
                argument_pointers.as_ptr(),
                environment_pointers.as_ptr(),
            );
        }
    }
    Err(Problem::not_started(
        arguments.first(),
        std::io::Error::last_os_error(),
    ))
}

/// Arguments and variables come from the kernel, NUL-terminated: none has a NUL inside.
fn c_strings(texts: impl IntoIterator<Item = OsString>) -> Vec<CString> {
    texts
        .into_iter()
        .filter_map(|text| CString::new(text.into_vec()).ok())
        .collect()
}

fn null_terminated(texts: &[CString]) -> Vec<*const libc::c_char> {
    texts
        .iter()
        .map(|text| text.as_ptr())
        .chain([ptr::null()])
        .collect()
}
