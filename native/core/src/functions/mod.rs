//! Functions that can be traced: what a user names (`u:/path:symbol`, `k:name`, `t:category:name`,
//! `usdt:/path:provider:name`), and where exactly that lies.
//!
//! Nothing here touches the kernel's tracing: files, symbol tables and type information are read, [`resolve`] says
//! what came of it, and who attaches takes it from there.

mod code_file;
mod debug_files;
mod describe;
mod dwarf;
mod elf;
mod exceptions;
mod golang;
mod kernel;
mod libraries;
mod names;
mod pattern;
mod scope;
mod spec;
mod symbols;
mod usdt;
mod user;

use std::collections::HashSet;
use std::path::PathBuf;

use crate::error::{Error, ErrorKind, Result};
pub use kernel::offered_instead;
pub use scope::Scope;
use spec::Spec;

/// Functions that one run traces at most; more is a glob that meant less.
pub const MAX_FUNCTIONS: usize = 1000;

/// Where a function lives.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Place {
    Kernel,
    User,
    Tracepoint,
    Usdt,
}

/// One function that is to be traced.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    pub place: Place,
    /// Demangled, as events tell it; `category:name` of a tracepoint, `provider:name` of a USDT probe.
    pub name: String,
    /// As in the symbol table; of tracepoints and USDT probes the same as `name`.
    pub symbol: String,
    /// The object's path as its processes have it, `kernel` or the kernel module's name, a tracepoint's category.
    pub module: String,
    /// Further symbols of the same code.
    pub aliases: Vec<String>,
    pub site: Site,
    /// In order; empty where nothing is known of them.
    pub arguments: Vec<Argument>,
    /// Of a function that returns something whose type is known.
    pub result: Option<ValueType>,
    /// What the user has to know of this one, such as why its end is not seen.
    pub note: Option<String>,
}

/// Where a function is attached to.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Site {
    User {
        /// Readable by this process: for a target in another mount namespace it begins with `/proc/PID/root`.
        path: PathBuf,
        /// Offset in the file of the first instruction; of Go's functions the first that runs once per call, behind the
        /// test for the stack's size.
        entry: u64,
        returns: Returns,
    },
    Usdt {
        /// As of `User`.
        path: PathBuf,
        /// Offset in the file of the probe's instruction.
        at: u64,
        /// Offset in the file of the counter that switches the probe on (the kernel's `ref_ctr_offset`).
        semaphore: Option<u64>,
    },
    Tracepoint {
        category: String,
        name: String,
        /// For `perf_event_open`; `None` where the kernel does not show its tracepoints. With it arguments are
        /// [`Location::Field`] and [`Location::Dynamic`] of the record, without it [`Location::Parameter`] of the raw
        /// tracepoint.
        id: Option<u64>,
    },
    Kernel {
        name: String,
    },
}

/// How the end of a function is seen.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Returns {
    /// By the kernel's return probe.
    Probe,
    /// By probes on its return instructions, whose offsets in the file these are. Go moves stacks, and with them what a
    /// return probe has put there.
    At(Vec<u64>),
    /// By probes on its return instructions, and on the jumps by which it ends in another function (offsets in the file):
    /// an exception that leaves it would not get past a return probe.
    Around { returns: Vec<u64>, jumps: Vec<u64> },
    /// Not at all.
    None,
}

/// How a value reads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ValueType {
    Integer {
        bytes: u8,
        signed: bool,
    },
    Boolean,
    Pointer,
    /// A pointer to characters that end with a zero byte.
    Text,
    /// A pointer to as many characters as the value at `length` says (Go's `string`, Rust's `&str`).
    Counted {
        length: Location,
    },
    /// Characters in the record itself, up to a zero byte or this many (of a tracepoint).
    Characters {
        bytes: u16,
    },
    /// In a register it is [`Location::Unreadable`]: vector registers are not handed to a probe.
    Float {
        bytes: u8,
    },
    /// A structure by value and the like; not readable.
    Other,
}

/// One argument of a function.
#[derive(Clone, Debug, PartialEq)]
pub struct Argument {
    /// Unknown for USDT probes.
    pub name: Option<String>,
    pub kind: ValueType,
    pub location: Location,
}

/// Where a value is when the function begins (a length of a result: when it has ended).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Location {
    /// By DWARF's number of the processor.
    Register(u8),
    /// Bytes from the stack pointer at the first instruction.
    Stack(i32),
    /// In memory, at a register's value and an offset.
    Memory {
        register: u8,
        offset: i32,
    },
    /// In memory, at `base + (index << shift) + offset`.
    Indexed {
        base: u8,
        index: u8,
        shift: u8,
        offset: i32,
    },
    /// In memory, so many bytes from the probed instruction.
    Relative(i64),
    Constant(i64),
    /// Of a tracepoint's record, which the program gets as its context.
    Field {
        offset: u16,
    },
    /// Characters at (word & 0xffff) of a tracepoint's record, (word >> 16) of them, with the word at `offset`.
    Dynamic {
        offset: u16,
    },
    /// The kernel's parameter, counted from 0, as `fentry`, `tp_btf` and raw tracepoints hand it over in words.
    Parameter(u8),
    /// It is there, but cannot be read.
    Unreadable,
}

/// Finds what `specs` name for the processes of `scope`, each function once, in the order of the specs and by name.
///
/// # Errors
/// [`ErrorKind::Usage`] for a spec that is wrong, ambiguous or matches more than [`MAX_FUNCTIONS`];
/// [`ErrorKind::Target`] where nothing bears the name, `Privilege` where a file may not be read, `Kernel` where the
/// kernel cannot do it.
pub fn resolve(specs: &[String], scope: &Scope) -> Result<Vec<Function>> {
    for spec in specs {
        if let Spec::Kernel { name, .. } = Spec::parse(spec)? {
            kernel::require_way_in(&name)?;
        }
    }
    look_up(specs, scope, MAX_FUNCTIONS)
}

/// What could be traced: as [`resolve`], without a bound.
///
/// # Errors
/// As [`resolve`].
pub fn list(specs: &[String], scope: &Scope) -> Result<Vec<Function>> {
    look_up(specs, scope, usize::MAX)
}

fn look_up(specs: &[String], scope: &Scope, limit: usize) -> Result<Vec<Function>> {
    let parsed = specs.iter().map(|spec| Spec::parse(spec));
    let mut found: Vec<Function> = Vec::new();
    let mut seen = HashSet::new();
    for spec in parsed.collect::<Result<Vec<_>>>()? {
        for function in find(&spec, scope, limit)? {
            if seen.insert(function.site.clone()) {
                found.push(function);
            }
        }
    }
    bounded(found, &specs.join(", "), limit)
}

fn find(spec: &Spec, scope: &Scope, limit: usize) -> Result<Vec<Function>> {
    match spec {
        Spec::User { file, symbol } => user::find(file, symbol, scope, limit),
        Spec::Kernel { module, name } => kernel::find(module, name, limit),
        Spec::Tracepoint { category, name } => {
            let found = kernel::find_tracepoints(category, name)?;
            bounded(
                found,
                &format!("{}:{}", category.text(), name.text()),
                limit,
            )
        }
        Spec::Usdt {
            file,
            provider,
            name,
        } => usdt::find(file, provider, name, scope, limit),
    }
}

/// How many of too many are told.
const FIRST_TOLD: usize = 8;

/// The functions, unless there are more than `limit`.
fn bounded(functions: Vec<Function>, wanted: &str, limit: usize) -> Result<Vec<Function>> {
    if functions.len() <= limit {
        return Ok(functions);
    }
    let names = functions.iter().map(|function| function.name.as_str());
    let first: Vec<_> = names.take(FIRST_TOLD).collect();
    Err(Error::new(
        ErrorKind::Usage,
        format!(
            "{wanted} matches {} functions, and {limit} can be traced at once",
            functions.len()
        ),
        format!("the first are {}, ...", first.join(", ")),
        "name fewer, or see all: universal-tracer --tracer stack --list SPEC",
    ))
}
