//! The kernel's tracepoints: what they are called, and what they tell.

use std::fs;

use super::btf::Types;
use super::tracefs::TraceFs;
use crate::error::{Error, ErrorKind, Result};
use crate::functions::pattern::{Pattern, did_you_mean};
use crate::functions::{Argument, Function, Location, Place, Site, ValueType};

/// Members that every record has, which say nothing of the tracepoint.
const COMMON: &str = "common_";
/// Where the kernel does not say it.
const UNKNOWN_CATEGORY: &str = "kernel";

/// A tracepoint by its two names.
type Name = (String, String);

pub(in crate::functions) fn find(category: &Pattern, name: &Pattern) -> Result<Vec<Function>> {
    let files = TraceFs::open();
    let types = super::vmlinux();
    let known = all(files.as_ref(), types.as_ref());
    let wanted = |known: &&Name| is(category, &known.0) && is(name, &known.1);
    let found: Vec<Function> = known
        .iter()
        .filter(wanted)
        .map(|known| describe(known, files.as_ref(), types.as_ref()))
        .collect();
    if found.is_empty() {
        return Err(not_there(category, name, &known, files.is_some()));
    }
    Ok(found)
}

fn is(wanted: &Pattern, name: &str) -> bool {
    wanted.text() == name || wanted.matches(name)
}

/// Those whose name has a word in common with a function's, for users of kernels where functions cannot be traced.
pub(super) fn related(function: &str) -> Vec<String> {
    let words: Vec<&str> = function.split('_').filter(|word| word.len() > 2).collect();
    let common = |name: &str| {
        let parts: Vec<&str> = name.split('_').collect();
        words.iter().filter(|word| parts.contains(word)).count()
    };
    let files = TraceFs::open();
    let types = super::vmlinux();
    let mut known: Vec<_> = all(files.as_ref(), types.as_ref())
        .into_iter()
        .map(|(category, name)| (common(&name), format!("t:{category}:{name}")))
        .filter(|(common, _)| *common > 0)
        .collect();
    known.sort_by_key(|(common, name)| (usize::MAX - common, name.clone()));
    known.into_iter().map(|(_, name)| name).collect()
}

/// From tracefs, which knows categories and system calls; else from the kernel's types.
fn all(files: Option<&TraceFs>, types: Option<&Types<'_>>) -> Vec<Name> {
    let from_files = files.map(|files| {
        let mut found = Vec::new();
        for category in entries(&files.path("events")) {
            for name in entries(&files.path(&format!("events/{category}"))) {
                // without an id it is perf's or ftrace's own
                if files.path(&format!("events/{category}/{name}/id")).exists() {
                    found.push((category.clone(), name));
                }
            }
        }
        found
    });
    let mut found = from_files
        .filter(|found| !found.is_empty())
        .unwrap_or_else(|| {
            let names = types.into_iter().flat_map(Types::tracepoints);
            names
                .map(|name| (UNKNOWN_CATEGORY.to_owned(), name.to_owned()))
                .collect()
        });
    found.sort();
    found
}

/// The directories in a directory.
fn entries(path: &std::path::Path) -> Vec<String> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

fn describe(
    (category, name): &Name,
    files: Option<&TraceFs>,
    types: Option<&Types<'_>>,
) -> Function {
    let read = |file: &str| {
        let path = files?.path(&format!("events/{category}/{name}/{file}"));
        fs::read_to_string(path).ok()
    };
    let id = read("id").and_then(|id| id.trim().parse().ok());
    let fields = read("format").map(|format| fields(&format));
    let arguments = match (id, fields) {
        (Some(_), Some(fields)) => fields,
        _ => types
            .and_then(|types| types.tracepoint(name))
            .unwrap_or_default(),
    };
    let full = format!("{category}:{name}");
    Function {
        place: Place::Tracepoint,
        name: full.clone(),
        symbol: full,
        module: category.clone(),
        aliases: Vec::new(),
        site: Site::Tracepoint {
            category: category.clone(),
            name: name.clone(),
            id,
        },
        arguments,
        result: None,
        note: None,
    }
}

/// The members of a record, from lines such as `field:const char * filename; offset:24; size:8; signed:0;`.
fn fields(format: &str) -> Vec<Argument> {
    format
        .lines()
        .filter_map(|line| field(line.trim()))
        .collect()
}

fn field(line: &str) -> Option<Argument> {
    let mut parts = line.strip_prefix("field:")?.split(';').map(str::trim);
    let declaration = parts.next()?;
    let mut number = |name: &str| parts.next()?.strip_prefix(name)?.parse::<u16>().ok();
    let (offset, size, signed) = (
        number("offset:")?,
        number("size:")?,
        number("signed:")? != 0,
    );
    // `char comm[16]`, `__data_loc char[] name`
    let (kind, name) = declaration.rsplit_once([' ', '*'])?;
    let (name, array) = match name.split_once('[') {
        Some((name, _)) => (name, true),
        None => (name, kind.contains('[')),
    };
    if name.starts_with(COMMON) {
        return None;
    }
    let is_pointer = declaration.contains('*');
    let is_text = kind
        .split(|char: char| !char.is_alphanumeric())
        .any(|word| word == "char")
        && !kind.contains("unsigned");
    let dynamic = kind.starts_with("__data_loc");
    let (value, location) = match (dynamic, array, is_pointer) {
        (true, ..) if is_text => (
            ValueType::Characters { bytes: u16::MAX },
            Location::Dynamic { offset },
        ),
        (false, true, false) if is_text => (
            ValueType::Characters { bytes: size },
            Location::Field { offset },
        ),
        (false, false, true) if is_text => (ValueType::Text, Location::Field { offset }),
        (false, false, true) => (ValueType::Pointer, Location::Field { offset }),
        (false, false, false) => (scalar(kind, size, signed), Location::Field { offset }),
        _ => (ValueType::Other, Location::Unreadable),
    };
    Some(Argument {
        name: Some(name.to_owned()),
        kind: value,
        location: if value == ValueType::Other {
            Location::Unreadable
        } else {
            location
        },
    })
}

fn scalar(kind: &str, size: u16, signed: bool) -> ValueType {
    match (kind, size) {
        ("bool" | "_Bool", 1) => ValueType::Boolean,
        (_, 1 | 2 | 4 | 8) => ValueType::Integer {
            bytes: size as u8,
            signed,
        },
        _ => ValueType::Other,
    }
}

fn not_there(category: &Pattern, name: &Pattern, known: &[Name], complete: bool) -> Error {
    let wanted = format!("{}:{}", category.text(), name.text());
    if known.is_empty() {
        return Error::new(
            ErrorKind::Privilege,
            format!("cannot look for the tracepoint {wanted}"),
            "only root may see the kernel's tracepoints, and the kernel describes no types (BTF)",
            "run as root",
        );
    }
    let full: Vec<String> = known
        .iter()
        .map(|(category, name)| format!("{category}:{name}"))
        .collect();
    let guess = if category.is_any() {
        did_you_mean(name.text(), known.iter().map(|(_, name)| name.as_str()))
    } else {
        did_you_mean(&wanted, full.iter().map(String::as_str))
    };
    let seen = if complete {
        ""
    } else {
        "; system calls and categories are seen by root only"
    };
    Error::new(
        ErrorKind::Target,
        format!("no tracepoint {wanted}"),
        format!(
            "none of the kernel's {} has that name{guess}{seen}",
            known.len()
        ),
        "universal-tracer --tracer stack --list 't:*'",
    )
}

#[cfg(test)]
mod tests {
    use super::{field, scalar};
    use crate::functions::{Location, ValueType};

    fn read(line: &str) -> (String, ValueType, Location) {
        let argument = field(line).expect(line);
        (
            argument.name.expect("a name"),
            argument.kind,
            argument.location,
        )
    }

    #[test]
    fn members_of_records() {
        let at = |offset| Location::Field { offset };
        let int = ValueType::Integer {
            bytes: 4,
            signed: true,
        };
        for (line, name, kind, location) in [
            (
                "field:pid_t prev_pid;\toffset:24;\tsize:4;\tsigned:1;",
                "prev_pid",
                int,
                at(24),
            ),
            (
                "field:char prev_comm[16];\toffset:8;\tsize:16;\tsigned:0;",
                "prev_comm",
                ValueType::Characters { bytes: 16 },
                at(8),
            ),
            (
                "field:__data_loc char[] filename;\toffset:8;\tsize:4;\tsigned:0;",
                "filename",
                ValueType::Characters { bytes: u16::MAX },
                Location::Dynamic { offset: 8 },
            ),
            (
                "field:const char * filename;\toffset:24;\tsize:8;\tsigned:0;",
                "filename",
                ValueType::Text,
                at(24),
            ),
            (
                "field:void *skaddr;\toffset:8;\tsize:8;\tsigned:0;",
                "skaddr",
                ValueType::Pointer,
                at(8),
            ),
            (
                "field:__u8 saddr[4];\toffset:28;\tsize:4;\tsigned:0;",
                "saddr",
                ValueType::Other,
                Location::Unreadable,
            ),
            (
                "field:bool success;\toffset:28;\tsize:1;\tsigned:0;",
                "success",
                ValueType::Boolean,
                at(28),
            ),
        ] {
            assert_eq!(read(line), (name.to_owned(), kind, location), "{line}");
        }
        assert!(field("field:int common_pid;\toffset:4;\tsize:4;\tsigned:1;").is_none());
        for broken in [
            "",
            "field:",
            "field:int x",
            "field:int x;\toffset:;",
            "print fmt: \"\"",
        ] {
            assert!(field(broken).is_none(), "{broken}");
        }
        assert_eq!(scalar("struct big", 24, false), ValueType::Other);
    }
}
