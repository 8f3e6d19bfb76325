//! Functions and tracepoints of the kernel.

mod btf;
mod tracefs;
mod tracepoints;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::pattern::{Pattern, did_you_mean};
use super::{Function, Place, Site};
use crate::error::{Error, ErrorKind, Result};
use btf::{Signature, Types};
use tracefs::TraceFs;

pub(super) use tracepoints::find as find_tracepoints;

const KERNEL: &str = "kernel";
const TYPES: &str = "/sys/kernel/btf";
/// How many tracepoints are named where functions cannot be traced.
const OFFERED: usize = 4;

/// The kernel's own types; `None` where it describes none.
fn vmlinux() -> Option<Types<'static>> {
    Types::read(&Path::new(TYPES).join("vmlinux"), None)
}

/// The kernel's functions that a spec names.
pub(super) fn find(module: &Pattern, name: &Pattern, limit: usize) -> Result<Vec<Function>> {
    let known = Functions::read()?;
    let wanted = |(function, owner): &(&String, &String)| {
        (name.text() == *function || name.matches(function)) && module.matches(owner)
    };
    let found: Vec<_> = known.names.iter().filter(wanted).collect();
    if found.is_empty() {
        return Err(not_there(module, name, &known));
    }
    let functions = found
        .into_iter()
        .map(|(function, owner)| plain(function, owner));
    let mut functions = super::bounded(functions.collect(), name.text(), limit)?;
    add_types(&mut functions);
    Ok(functions)
}

/// Tracepoints that tell something of what a kernel function does, for kernels where it cannot be traced itself.
pub fn offered_instead(function: &str) -> String {
    let related = tracepoints::related(function);
    let first: Vec<_> = related.into_iter().take(OFFERED).collect();
    if first.is_empty() {
        return "trace tracepoints instead: universal-tracer --tracer stack --list 't:*'"
            .to_owned();
    }
    format!("trace tracepoints instead, such as {}", first.join(", "))
}

/// Functions of the kernel and its modules that a program can be attached to, with their modules.
struct Functions {
    names: BTreeMap<String, String>,
}

impl Functions {
    fn read() -> Result<Self> {
        let symbols = fs::read("/proc/kallsyms").map_err(|error| {
            Error::new(
                ErrorKind::Kernel,
                "cannot read the names of the kernel's functions",
                format!("/proc/kallsyms: {error}"),
                "boot a kernel built with CONFIG_KALLSYMS=y, or run outside of the container",
            )
        })?;
        let symbols = String::from_utf8_lossy(&symbols);
        // ADDRESS TYPE NAME [MODULE]
        let code = symbols.lines().filter_map(|line| {
            let mut parts = line.split_ascii_whitespace();
            let kind = parts.nth(1)?;
            let name = parts.next()?;
            let module = parts
                .next()
                .map_or(KERNEL, |module| module.trim_matches(['[', ']']));
            matches!(kind, "t" | "T" | "w" | "W").then_some((name, module))
        });
        let names: BTreeMap<String, String> = code
            .filter(|(_, module)| *module != "bpf" && !module.starts_with("__builtin__"))
            .map(|(name, module)| (name.to_owned(), module.to_owned()))
            .collect();
        let mut functions = Self { names };
        functions.keep_traceable();
        Ok(functions)
    }

    /// Only root can read which functions those are; others see all.
    fn keep_traceable(&mut self) {
        let Some(files) = TraceFs::open() else { return };
        let list = fs::read(files.path("available_filter_functions")).unwrap_or_default();
        let list = String::from_utf8_lossy(&list);
        let traceable: HashSet<&str> = list
            .lines()
            .filter_map(|line| line.split_ascii_whitespace().next())
            .collect();
        if !traceable.is_empty() {
            self.names
                .retain(|name, _| traceable.contains(name.as_str()));
        }
    }
}

/// Whether functions of this kernel can be traced at all; what they are called can be listed in any case.
pub(super) fn require_way_in(name: &Pattern) -> Result<()> {
    if Path::new("/sys/bus/event_source/devices/kprobe").exists() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Kernel,
        format!(
            "this kernel does not let its function {} be traced",
            name.text()
        ),
        "it was built without kprobes (CONFIG_KPROBE_EVENTS)",
        offered_instead(name.text()),
    ))
}

fn plain(function: &str, owner: &str) -> Function {
    Function {
        place: Place::Kernel,
        name: function.to_owned(),
        symbol: function.to_owned(),
        module: owner.to_owned(),
        aliases: Vec::new(),
        site: Site::Kernel {
            name: function.to_owned(),
        },
        arguments: Vec::new(),
        result: None,
        note: None,
    }
}

/// What the functions take and return, as far as the kernel and its modules say it.
fn add_types(functions: &mut [Function]) {
    let Some(kernel) = vmlinux() else { return };
    let mut modules: HashMap<String, Option<Types<'_>>> = HashMap::new();
    for function in functions {
        let types = if function.module == KERNEL {
            Some(&kernel)
        } else {
            let path: PathBuf = Path::new(TYPES).join(&function.module);
            let read = || Types::read(&path, Some(&kernel));
            modules
                .entry(function.module.clone())
                .or_insert_with(read)
                .as_ref()
        };
        let signature = types.and_then(|types| types.function(&function.symbol));
        let Signature { arguments, result } = signature.unwrap_or_default();
        function.arguments = arguments;
        function.result = result;
    }
}

fn not_there(module: &Pattern, name: &Pattern, known: &Functions) -> Error {
    let (of, wanted) = (module.text(), name.text());
    let family: String = wanted
        .split_inclusive('_')
        .next()
        .unwrap_or_default()
        .replace('*', "");
    let guess = did_you_mean(wanted, known.names.keys().map(String::as_str));
    let place = if module.is_any() {
        "the kernel".to_owned()
    } else {
        format!("the kernel's module {of}")
    };
    Error::new(
        ErrorKind::Target,
        format!("no function {wanted} in {place}"),
        format!(
            "none of the {} functions that can be traced has that name{guess}; others are inlined, or not to be traced",
            known.names.len()
        ),
        format!("universal-tracer --tracer stack --list 'k:{family}*'"),
    )
}
