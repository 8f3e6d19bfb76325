//! Go programs: functions against `go tool nm`, returns against `go tool objdump`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use universal_tracer_core::functions::{Function, Returns, Site};

use super::support::{Directory, Segments, found, of_file, output};

const SOURCE: &str = r#"package main

import "fmt"

type box[T any] struct{ value T }

//go:noinline
func (b *box[T]) get(other T, more bool) T {
	if more {
		return other
	}
	return b.value
}

//go:noinline
func deep(n int, pad [64]byte) int {
	if n == 0 {
		return int(pad[0])
	}
	return deep(n-1, pad) + 1
}

//go:noinline
func wide() int {
	var block [100000]byte
	for i := range block {
		block[i] = byte(i)
	}
	return int(block[deep(3, [64]byte{})])
}

func main() {
	b := &box[int]{1}
	fmt.Println(b.get(2, wide() > 3))
}
"#;

fn built(directory: &Directory, name: &str, flags: &[&str]) -> Option<PathBuf> {
    let source = directory.write("main.go", SOURCE);
    let path = directory.path(name);
    let done = Command::new("go")
        .args(["build", "-o"])
        .arg(&path)
        .args(flags)
        .arg(source)
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-mod=mod")
        .output();
    match done {
        Ok(done) => {
            assert!(
                done.status.success(),
                "{}",
                String::from_utf8_lossy(&done.stderr)
            );
            Some(path)
        }
        Err(error) => {
            println!("skipped: go: {error}");
            None
        }
    }
}

/// By `go tool objdump`: for each function the addresses of its return instructions. Functions with instructions that
/// Go's tool does not know (AVX-512) are left out: it takes the bytes behind them for others.
fn returns(path: &Path) -> BTreeMap<String, BTreeSet<u64>> {
    let text = output("go", &["tool", "objdump", path.to_str().expect("UTF-8")]).expect("go");
    let mut told: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    let mut unknown = BTreeSet::new();
    let mut function = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("TEXT ") {
            let end = rest.rfind("(SB)").expect("a name");
            function = rest[..end].to_owned();
            told.entry(function.clone()).or_default();
            continue;
        }
        let parts: Vec<_> = line.split('\t').filter(|part| !part.is_empty()).collect();
        let [_, address, _, instruction, ..] = parts.as_slice() else {
            continue;
        };
        if instruction.trim().starts_with('?') {
            unknown.insert(function.clone());
        }
        if instruction.trim() == "RET" {
            let address = address.trim().strip_prefix("0x").expect("an address");
            let address = u64::from_str_radix(address, 16).expect("an address");
            told.get_mut(&function).expect("a function").insert(address);
        }
    }
    assert!(unknown.len() * 20 < told.len(), "{unknown:?}");
    told.retain(|name, _| !unknown.contains(name));
    told
}

/// The file's functions by name, but those whose name others have as well.
fn functions(path: &Path) -> BTreeMap<String, Function> {
    let mut by_name: BTreeMap<String, Vec<Function>> = BTreeMap::new();
    for function in found(&of_file(path, "*")) {
        by_name
            .entry(function.symbol.clone())
            .or_default()
            .push(function);
    }
    by_name
        .into_iter()
        .filter_map(|(name, mut functions)| {
            Some((name, functions.pop().filter(|_| functions.is_empty())?))
        })
        .collect()
}

fn at(function: &Function) -> Vec<u64> {
    match &function.site {
        Site::User {
            returns: Returns::At(offsets),
            ..
        } => offsets.clone(),
        Site::User {
            returns: Returns::None,
            ..
        } => Vec::new(),
        _ => panic!("{function:?}"),
    }
}

#[test]
fn every_return_of_a_whole_program() {
    let directory = Directory::new();
    let Some(path) = built(&directory, "program", &[]) else {
        return;
    };
    let (ours, segments) = (functions(&path), Segments::read(&path).expect("binutils"));
    let truth = returns(&path);
    assert!(truth.len() > 1000);
    for (name, returns) in &truth {
        let Some(function) = ours.get(name) else {
            continue;
        };
        let offsets: Vec<u64> = returns
            .iter()
            .map(|&address| segments.offset(address))
            .collect();
        assert_eq!(at(function), offsets, "{name}");
    }
    let compared = truth.keys().filter(|name| ours.contains_key(*name)).count();
    assert!(
        compared * 100 > truth.len() * 90,
        "{compared} of {}",
        truth.len()
    );
}

#[test]
fn stripped_and_position_independent_programs_have_the_same_functions() {
    let directory = Directory::new();
    let Some(whole) = built(&directory, "whole", &[]) else {
        return;
    };
    let names = |path: &Path| -> BTreeSet<String> {
        functions(path)
            .into_keys()
            .filter(|name| name.starts_with("main."))
            .collect()
    };
    let truth = names(&whole);
    assert!(truth.len() >= 4, "{truth:?}");
    for (name, flags) in [
        ("stripped", &["-ldflags=-s -w"][..]),
        ("pie", &["-buildmode=pie"]),
        ("stripped-pie", &["-buildmode=pie", "-ldflags=-s -w"]),
    ] {
        let path = built(&directory, name, flags).expect("go was there before");
        assert_eq!(names(&path), truth, "{name}");
        let deep = functions(&path)
            .remove("main.deep")
            .expect("it is one of them");
        assert_eq!(at(&deep).len(), 2, "{name}: {deep:?}");
        let segments = Segments::read(&path).expect("binutils");
        if let Some(address) = address_of(&path, "main.deep") {
            let Site::User { entry, .. } = deep.site else {
                panic!("{deep:?}")
            };
            let distance = entry - segments.offset(address);
            assert!((1..64).contains(&distance), "{name}: {distance} bytes");
        }
    }
}

/// By `go tool nm`; `None` where it is stripped.
fn address_of(path: &Path, name: &str) -> Option<u64> {
    let done = Command::new("go")
        .args(["tool", "nm"])
        .arg(path)
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    let line = text
        .lines()
        .find(|line| line.ends_with(&format!(" T {name}")))?;
    u64::from_str_radix(line.split_whitespace().next()?, 16).ok()
}

/// The instruction before the begin tests the stack's size, the one at the begin does not.
#[test]
fn calls_begin_behind_the_test_of_the_stack() {
    let directory = Directory::new();
    let Some(path) = built(&directory, "program", &[]) else {
        return;
    };
    let ours = functions(&path);
    let segments = Segments::read(&path).expect("binutils");
    let text = output(
        "go",
        &[
            "tool",
            "objdump",
            "-s",
            "^main\\.",
            path.to_str().expect("UTF-8"),
        ],
    );
    let text = text.expect("go");
    let mut lines = text.lines().peekable();
    let mut checked = 0;
    while let Some(line) = lines.next() {
        let Some(rest) = line.strip_prefix("TEXT ") else {
            continue;
        };
        let name = &rest[..rest.rfind("(SB)").expect("a name")];
        let Some(function) = ours.get(name) else {
            continue;
        };
        let mut last_test = None;
        let mut body = Vec::new();
        while let Some(line) = lines.next_if(|line| !line.starts_with("TEXT ")) {
            let parts: Vec<_> = line.split('\t').filter(|part| !part.is_empty()).collect();
            if let [_, address, _, instruction, ..] = parts.as_slice() {
                let address = u64::from_str_radix(&address.trim()[2..], 16).expect("an address");
                body.push((segments.offset(address), instruction.trim().to_owned()));
            }
        }
        for (index, (_, instruction)) in body.iter().enumerate().take(8) {
            if ["JBE", "JB ", "JCS", "JLS"]
                .iter()
                .any(|jump| instruction.starts_with(jump))
            {
                last_test = Some(index);
            }
            if instruction.starts_with("PUSHQ") {
                break;
            }
        }
        let Some(last_test) = last_test else { continue };
        let Site::User { entry, .. } = function.site else {
            panic!("{function:?}")
        };
        assert_eq!(entry, body[last_test + 1].0, "{name}: {:?}", &body[..8]);
        checked += 1;
    }
    assert!(checked >= 3, "{checked}");
}
