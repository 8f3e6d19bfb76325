//! Puts the programs where functions begin and end.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::path::{Path, PathBuf};

use libbpf_rs::{
    AsRawLibbpf, KprobeOpts, Link, Object, OpenObject, PerfEventOpts, ProgramMut, UprobeMultiOpts,
    UprobeOpts, libbpf_sys,
};

use super::adapter::UserAdapter;
use crate::error::{Error, ErrorKind, Result};
use crate::functions::{Function, Place, Returns, Site, offered_instead};
use crate::stack::perf;
use crate::tracer::HookRow;
use crate::verifier_log;

pub(super) const SESSION: &str = "handle_call_session";
pub(super) const ENTRY: &str = "handle_call_entry";
pub(super) const RETURN: &str = "handle_call_return";
pub(super) const EXIT: &str = "handle_call_exit";
const KERNEL_ENTRY: &str = "handle_kernel_entry";
const KERNEL_RETURN: &str = "handle_kernel_return";
pub(super) const TRACEPOINT: &str = "handle_tracepoint";
/// Of a cookie: the function ends in another one there, and its result is not known yet.
const ENDS_IN_ANOTHER: usize = 1 << 32;
/// Every process that runs the file; the programs look whether it is a target.
const EVERY_PROCESS: i32 = -1;

/// Where one program goes in one file.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Points {
    offsets: Vec<usize>,
    /// The functions' numbers.
    cookies: Vec<u64>,
    /// Counters that the program looks at; 0 where there is none.
    semaphores: Vec<usize>,
}

impl Points {
    /// One place, of the first function.
    pub(super) fn of_one(offset: u64) -> Self {
        let mut points = Self::default();
        points.add(offset, 0, 0);
        points
    }

    fn add(&mut self, offset: u64, number: usize, semaphore: u64) {
        self.offsets.push(to_size(offset));
        self.cookies.push(number as u64);
        self.semaphores.push(to_size(semaphore));
    }
}

/// What a run attaches to functions.
#[derive(Debug)]
pub(crate) struct CallPlan {
    pub(crate) adapter: UserAdapter,
    /// By program and file; exits before entries, so that no entry misses its exit.
    user: BTreeMap<(Step, PathBuf), Points>,
    /// As users name it, its event's number, and the function's.
    tracepoints: Vec<(String, Option<u64>, u64)>,
    /// Functions of the kernel, and their numbers.
    kernel: Vec<(String, u64)>,
}

/// Programs in the order in which they are attached.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Step {
    Return,
    Exit,
    Session,
    Entry,
}

impl Step {
    pub(super) fn program(self) -> &'static str {
        match self {
            Self::Return => RETURN,
            Self::Exit => EXIT,
            Self::Session => SESSION,
            Self::Entry => ENTRY,
        }
    }
}

impl CallPlan {
    /// Plans for these functions, whose numbers are their places.
    pub(crate) fn new(functions: &[Function]) -> Self {
        let mut plan = Self {
            adapter: UserAdapter::choose(),
            user: BTreeMap::new(),
            tracepoints: Vec::new(),
            kernel: Vec::new(),
        };
        for (number, function) in functions.iter().enumerate() {
            plan.add(number, &function.site);
        }
        plan
    }

    fn add(&mut self, number: usize, site: &Site) {
        match site {
            Site::User {
                path,
                entry,
                returns,
            } => self.add_user(number, path, *entry, returns),
            Site::Usdt {
                path,
                at,
                semaphore,
            } => self.point(Step::Entry, path, *at, number, semaphore.unwrap_or(0)),
            Site::Tracepoint { category, name, id } => {
                let tracepoint = (format!("{category}:{name}"), *id, number as u64);
                self.tracepoints.push(tracepoint);
            }
            Site::Kernel { name } => self.kernel.push((name.clone(), number as u64)),
        }
    }

    fn add_user(&mut self, number: usize, path: &Path, entry: u64, returns: &Returns) {
        match returns {
            Returns::Probe if self.adapter == UserAdapter::Session => {
                self.point(Step::Session, path, entry, number, 0);
            }
            Returns::Probe => {
                self.point(Step::Return, path, entry, number, 0);
                self.point(Step::Entry, path, entry, number, 0);
            }
            Returns::At(offsets) => {
                for offset in offsets {
                    self.point(Step::Exit, path, *offset, number, 0);
                }
                self.point(Step::Entry, path, entry, number, 0);
            }
            Returns::Around { returns, jumps } => {
                for offset in returns {
                    self.point(Step::Exit, path, *offset, number, 0);
                }
                for offset in jumps {
                    self.point(Step::Exit, path, *offset, number | ENDS_IN_ANOTHER, 0);
                }
                self.point(Step::Entry, path, entry, number, 0);
            }
            Returns::None => self.point(Step::Entry, path, entry, number, 0),
        }
    }

    fn point(&mut self, step: Step, path: &Path, offset: u64, number: usize, semaphore: u64) {
        self.user
            .entry((step, path.to_owned()))
            .or_default()
            .add(offset, number, semaphore);
    }

    /// Names of the programs that are needed.
    pub(crate) fn programs(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.user.keys().map(|(step, _)| step.program()).collect();
        names.dedup();
        if !self.tracepoints.is_empty() {
            names.push(TRACEPOINT);
        }
        if !self.kernel.is_empty() {
            names.extend([KERNEL_RETURN, KERNEL_ENTRY]);
        }
        names
    }

    /// Whether the exits of some calls are recognised by their frames.
    pub(crate) fn needs_open_calls(&self) -> bool {
        let by_frame = |(step, _): &(Step, PathBuf)| matches!(step, Step::Exit | Step::Return);
        !self.kernel.is_empty() || self.user.keys().any(by_frame)
    }

    /// Attaches everything; what is attached already goes again where something fails.
    pub(crate) fn attach(&self, object: &Object) -> Result<Vec<Link>> {
        let mut links = Vec::new();
        for ((step, path), points) in &self.user {
            let program = find_program(object, step.program())
                .ok_or_else(|| not_attached(path, &"no such program in the object"))?;
            links.extend(attach_points(
                &program,
                self.adapter,
                *step,
                EVERY_PROCESS,
                path,
                points,
            )?);
        }
        for (name, id, number) in &self.tracepoints {
            links.push(attach_tracepoint(object, name, *id, *number)?);
        }
        for (program, is_return) in [(KERNEL_RETURN, true), (KERNEL_ENTRY, false)] {
            for (name, number) in &self.kernel {
                links.push(attach_kernel(object, program, is_return, name, *number)?);
            }
        }
        Ok(links)
    }

    /// What is attached, for `--dry-run` and the start.
    pub(crate) fn rows(&self, functions: &[Function]) -> Vec<HookRow> {
        functions
            .iter()
            .map(|function| self.row(function))
            .collect()
    }

    fn row(&self, function: &Function) -> HookRow {
        let (adapter, why, cost) = match &function.site {
            Site::User { returns, .. } => {
                let adapter = match returns {
                    Returns::Probe => self.adapter.name(),
                    _ if self.adapter == UserAdapter::PerfEvent => "uprobe",
                    _ => "uprobe.multi",
                };
                let why = match returns {
                    Returns::Probe => "entries and exits of the function".to_owned(),
                    Returns::Around { returns, jumps } => format!(
                        "entries, and exits at {} instructions: exceptions find the stack as it is",
                        returns.len() + jumps.len()
                    ),
                    Returns::At(places) => format!(
                        "entries, and exits at {} return instructions: the return address stays as it is",
                        places.len()
                    ),
                    Returns::None => "entries of the function".to_owned(),
                };
                (adapter, why, "1 to 2 µs per call of whoever runs the file")
            }
            Site::Usdt { .. } => (
                "uprobe",
                "the program's own probe".to_owned(),
                "1 µs per pass of whoever runs the file",
            ),
            Site::Tracepoint { .. } => (
                "tracepoint",
                "the kernel's own probe".to_owned(),
                "below 1 µs per event",
            ),
            Site::Kernel { .. } => (
                "kprobe",
                "entries and exits of the function".to_owned(),
                "below 1 µs per call",
            ),
        };
        HookRow {
            tracer: "stack",
            hook: spec_text(function),
            adapter,
            why,
            cost,
        }
    }
}

/// Sets how programs will be attached, which the kernel wants to know when they are loaded.
pub(crate) fn configure(open: &mut OpenObject, adapter: UserAdapter) {
    if adapter == UserAdapter::PerfEvent {
        return;
    }
    for program in open.progs_mut() {
        if [ENTRY, RETURN, EXIT]
            .iter()
            .any(|name| program.name() == *name)
        {
            // SAFETY: the program belongs to the open object and is not loaded yet.
            unsafe {
                libbpf_sys::bpf_program__set_expected_attach_type(
                    program.as_libbpf_object().as_ptr(),
                    libbpf_sys::BPF_TRACE_UPROBE_MULTI,
                );
            }
        }
    }
}

/// A program of the object.
pub(super) fn find_program<'a>(object: &'a Object, name: &str) -> Option<ProgramMut<'a>> {
    object.progs_mut().find(|program| program.name() == name)
}

/// Puts a program on all points of a file that processes run: `pid`, or any.
pub(super) fn attach_points(
    program: &ProgramMut<'_>,
    adapter: UserAdapter,
    step: Step,
    pid: i32,
    path: &Path,
    points: &Points,
) -> Result<Vec<Link>> {
    let failed = |error: libbpf_rs::Error| not_attached(path, &error);
    if adapter != UserAdapter::PerfEvent {
        let options = UprobeMultiOpts {
            offsets: points.offsets.clone(),
            ref_ctr_offsets: points.semaphores.clone(),
            cookies: points.cookies.clone(),
            retprobe: step == Step::Return,
            session: step == Step::Session,
            ..UprobeMultiOpts::default()
        };
        let link = program.attach_uprobe_multi_with_opts(pid, path, "", options);
        return Ok(vec![link.map_err(failed)?]);
    }
    let each = points
        .offsets
        .iter()
        .zip(&points.cookies)
        .zip(&points.semaphores);
    each.map(|((offset, cookie), semaphore)| {
        let options = UprobeOpts {
            ref_ctr_offset: *semaphore,
            cookie: *cookie,
            retprobe: step == Step::Return,
            ..UprobeOpts::default()
        };
        program
            .attach_uprobe_with_opts(pid, path, *offset, options)
            .map_err(failed)
    })
    .collect()
}

fn attach_kernel(
    object: &Object,
    program: &str,
    is_return: bool,
    name: &str,
    number: u64,
) -> Result<Link> {
    let failed = |cause: &dyn std::fmt::Display| {
        let what = format!("cannot trace the kernel's function {name}");
        Error::new(ErrorKind::Kernel, what, cause, offered_instead(name))
    };
    let options = KprobeOpts {
        cookie: number,
        ..KprobeOpts::default()
    };
    find_program(object, program)
        .ok_or_else(|| failed(&"no such program in the object"))?
        .attach_kprobe_with_opts(is_return, name, options)
        .map_err(|error| failed(&error))
}

pub(super) fn attach_tracepoint(
    object: &Object,
    name: &str,
    id: Option<u64>,
    number: u64,
) -> Result<Link> {
    let failed = |cause: &dyn std::fmt::Display| {
        let what = format!("cannot trace the tracepoint {name}");
        Error::new(ErrorKind::Kernel, what, cause, "universal-tracer doctor -v")
    };
    let id = id.ok_or_else(|| failed(&"the kernel does not show its tracepoints (tracefs)"))?;
    let event = perf::open_tracepoint(id).map_err(|error| failed(&error))?;
    let options = PerfEventOpts {
        cookie: number,
        ..PerfEventOpts::default()
    };
    let link = find_program(object, TRACEPOINT)
        .ok_or_else(|| failed(&"no such program in the object"))?
        .attach_perf_event_with_opts(event.as_raw_fd(), options)
        .map_err(|error| failed(&error))?;
    // from now on the link owns the event, and closes it
    let _ = event.into_raw_fd();
    Ok(link)
}

/// The function as `--trace-function` names it.
fn spec_text(function: &Function) -> String {
    let Function { module, symbol, .. } = function;
    match function.place {
        Place::Kernel => format!("k:{symbol}"),
        Place::User => format!("u:{module}:{symbol}"),
        Place::Tracepoint => format!("t:{symbol}"),
        Place::Usdt => format!("usdt:{module}:{symbol}"),
    }
}

fn to_size(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

fn not_attached(path: &Path, cause: &dyn std::fmt::Display) -> Error {
    let said = verifier_log::take();
    let mut error = Error::new(
        ErrorKind::Kernel,
        format!("cannot trace functions of {}", path.display()),
        cause,
        "universal-tracer doctor -v",
    );
    error.log.clone_from(&said.lines);
    error
}
