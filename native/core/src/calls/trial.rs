//! What `doctor` tries of function tracing: its programs, on a function of this process, for this process.

use libbpf_rs::{Link, Object};

use super::adapter::{UserAdapter, own_place};
use super::attach::{
    ENTRY, EXIT, Points, RETURN, SESSION, Step, TRACEPOINT, attach_points, attach_tracepoint,
    find_program,
};
use crate::error::{Error, ErrorKind, Result};
use crate::functions::{Scope, Site, resolve};
use crate::plan::PlannedHook;

const FUNCTIONS: &str = "functions";
const RETURNS: &str = "returns of Go's and C++'s functions";
const TRACEPOINTS: &str = "tracepoints";
/// One that is rare: an end of a process.
const RARE_TRACEPOINT: &str = "t:sched:sched_process_exit";

/// The hooks of functions; where they lie is up to `--trace-function`.
pub(crate) fn hooks() -> Vec<PlannedHook> {
    let adapter = UserAdapter::choose();
    let hook = |hook, adapter, why, program| PlannedHook {
        tracer: "stack",
        hook,
        adapter,
        why,
        cost: "1 to 2 µs per call where a function is named, else nothing",
        program,
    };
    let entries = "entries of functions that --trace-function names";
    let mut hooks = match adapter {
        UserAdapter::Session => {
            let why = "entries and exits of functions that --trace-function names";
            vec![
                hook(FUNCTIONS, adapter.name(), why, SESSION),
                hook(FUNCTIONS, "uprobe.multi", entries, ENTRY),
            ]
        }
        _ => vec![
            hook(FUNCTIONS, adapter.name(), entries, ENTRY),
            hook(FUNCTIONS, adapter.name(), "their exits", RETURN),
        ],
    };
    let plain = match adapter {
        UserAdapter::PerfEvent => "uprobe",
        _ => "uprobe.multi",
    };
    let kept = "exits where the return address has to stay as it is";
    hooks.push(hook(RETURNS, plain, kept, EXIT));
    let event = "events of the kernel that --trace-function names";
    hooks.push(hook(TRACEPOINTS, "tracepoint", event, TRACEPOINT));
    hooks
}

/// Attaches a program of [`hooks`] to this process; `None` for others.
pub(crate) fn attach(object: &Object, hook: &PlannedHook) -> Option<Result<Link>> {
    let step = match hook.program {
        SESSION => Step::Session,
        ENTRY => Step::Entry,
        EXIT => Step::Exit,
        RETURN => Step::Return,
        TRACEPOINT => return Some(try_tracepoint(object)),
        _ => return None,
    };
    Some(attach_here(object, step))
}

fn attach_here(object: &Object, step: Step) -> Result<Link> {
    let (path, offset) = own_place().ok_or_else(|| failed(&"this program has no file"))?;
    let points = Points::of_one(offset);
    let program = find_program(object, step.program()).ok_or_else(|| failed(&"no such program"))?;
    let own = i32::try_from(std::process::id()).unwrap_or(-1);
    let path = path.to_string_lossy().into_owned();
    let adapter = UserAdapter::choose();
    let links = attach_points(&program, adapter, step, own, path.as_ref(), &points)?;
    links
        .into_iter()
        .next()
        .ok_or_else(|| failed(&"nothing was attached"))
}

fn try_tracepoint(object: &Object) -> Result<Link> {
    let found = resolve(&[RARE_TRACEPOINT.to_owned()], &Scope::default()).map_err(seen_by_root)?;
    let id = found.first().and_then(|function| match function.site {
        Site::Tracepoint { id, .. } => id,
        _ => None,
    });
    attach_tracepoint(object, RARE_TRACEPOINT, id, 0)
}

/// Tracefs is root's: who is somebody else lacks a right, not the kernel a tracepoint.
fn seen_by_root(error: Error) -> Error {
    // SAFETY: the call has no arguments and cannot fail.
    if unsafe { libc::geteuid() } == 0 {
        return error;
    }
    let what = "tracepoints cannot be looked up";
    Error::new(
        ErrorKind::Privilege,
        what,
        "tracefs can be read by root only",
        "run as root",
    )
}

fn failed(cause: &dyn std::fmt::Display) -> Error {
    Error::new(
        ErrorKind::Kernel,
        "functions cannot be traced here",
        cause,
        "universal-tracer doctor -v",
    )
}
