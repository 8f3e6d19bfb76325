//! Rows against what `readelf` says of the same files, at every address where something changes.
#![cfg(target_arch = "x86_64")]

use std::path::Path;
use std::process::Command;

use universal_tracer_core::unwind::compile::{Row, compile, find};
use universal_tracer_core::unwind::elf::layout;
use universal_tracer_core::unwind::rules::{Cfa, ReturnAddress, Rule, SavedFramePointer, Step};

/// One line of `readelf -wF`.
struct Told {
    pc: u64,
    cfa: String,
    rbp: Option<String>,
    ra: Option<String>,
}

/// Lines of all functions that the linker has kept, in the order of the file.
fn tell(path: &Path) -> Option<Vec<Told>> {
    let output = Command::new("readelf").arg("-wF").arg(path).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut told = Vec::new();
    let mut names: Vec<String> = Vec::new();
    let mut range = 0..0;
    for line in text.lines() {
        if let Some((_, addresses)) = line.split_once(" pc=") {
            let (start, end) = addresses.split_once("..")?;
            let number = |text: &str| u64::from_str_radix(text.trim(), 16).ok();
            range = number(start)?..number(end)?;
        } else if line.contains(" CIE ") {
            range = 0..0;
        } else if line.trim_start().starts_with("LOC") {
            names = line.split_whitespace().map(str::to_owned).collect();
        } else if range.start != 0 && !names.is_empty() {
            let values: Vec<_> = line.split_whitespace().collect();
            let Some(pc) = values
                .first()
                .and_then(|loc| u64::from_str_radix(loc, 16).ok())
            else {
                continue;
            };
            let of = |name: &str| {
                let at = names.iter().position(|known| known == name)?;
                values.get(at).map(|value| (*value).to_owned())
            };
            if range.contains(&pc) && values.len() == names.len() {
                told.push(Told {
                    pc,
                    cfa: of("CFA")?,
                    rbp: of("rbp"),
                    ra: of("ra"),
                });
            }
        }
    }
    Some(told)
}

fn from_cfa(text: &str) -> Option<i32> {
    text.strip_prefix('c')?.parse().ok()
}

/// Whether the rule is what `readelf` tells.
fn agrees(rule: &Rule, told: &Told) -> bool {
    let by = |register: &str| told.cfa.strip_prefix(register)?.parse().ok();
    let cfa = match rule.cfa {
        Cfa::StackPointer => by("rsp") == Some(rule.cfa_offset),
        Cfa::FramePointer => by("rbp") == Some(rule.cfa_offset),
        Cfa::Register => by("rsp").is_none() && by("rbp").is_none() && told.cfa != "exp",
        Cfa::StackPointerDeref | Cfa::FramePointerDeref | Cfa::Plt => told.cfa == "exp",
    };
    let rbp = told.rbp.as_deref().unwrap_or("u");
    let fp = match rule.fp {
        SavedFramePointer::Same => matches!(rbp, "u" | "s"),
        SavedFramePointer::AtCfa => from_cfa(rbp) == Some(rule.fp_offset),
        SavedFramePointer::AtFramePointer => rbp == "exp",
    };
    let ra = told.ra.as_deref().and_then(from_cfa) == Some(rule.ra_offset);
    cfa && fp && ra && rule.ra == ReturnAddress::AtCfa
}

fn compare(path: &Path) -> Option<(usize, usize)> {
    let data = std::fs::read(path).ok()?;
    let base = layout(&data[..])?.base;
    let rows: Vec<Row> = compile(&data[..], base)?;
    // functions that the linker left out keep a description, of an address below all code
    let told: Vec<_> = tell(path)?
        .into_iter()
        .filter(|line| line.pc >= base)
        .collect();
    let mut not_followed = 0;
    for line in &told {
        let pc = u32::try_from(line.pc - base).ok()?;
        match find(&rows, pc) {
            Step::Rule(rule) => assert!(agrees(&rule, line), "{path:?} {:x} {rule:?}", line.pc),
            Step::Stop => assert_eq!(line.ra.as_deref(), Some("u"), "{path:?} {:x}", line.pc),
            Step::Unknown => not_followed += 1,
            Step::Signal => {}
            Step::None => panic!("{path:?} {:x} has no row", line.pc),
        }
    }
    Some((told.len(), not_followed))
}

#[test]
fn rows_of_real_files_are_those_of_readelf() {
    let mut compared = 0;
    for path in [
        "/proc/self/exe",
        "/lib/x86_64-linux-gnu/libc.so.6",
        "/lib64/ld-linux-x86-64.so.2",
        "/usr/lib/x86_64-linux-gnu/libcrypto.so.3",
        "/usr/lib/x86_64-linux-gnu/libstdc++.so.6",
        "/usr/bin/python3.11",
        "/usr/bin/bash",
        "/usr/bin/perl",
    ] {
        let Some((rows, not_followed)) = compare(Path::new(path)) else {
            continue;
        };
        compared += rows;
        assert!(
            not_followed * 1000 <= rows,
            "{path}: {not_followed} of {rows} rows are not understood"
        );
    }
    assert!(compared > 1000 || Command::new("readelf").output().is_err());
}

/// Cut short or changed anywhere, a file makes fewer rows, never a panic.
#[test]
fn damaged_files_do_no_harm() {
    let whole = std::fs::read("/lib64/ld-linux-x86-64.so.2").expect("the loader");
    let base = layout(&whole[..]).expect("an ELF file").base;
    let mut state = 7_u64;
    let mut random = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(state >> 33).unwrap_or_default()
    };
    for _ in 0..60 {
        let mut data = whole.clone();
        for _ in 0..200 {
            let at = random() % data.len();
            data[at] = random().to_le_bytes()[0];
        }
        data.truncate(random() % data.len());
        let _ = layout(&data[..]);
        let _ = compile(&data[..], base);
    }
    for _ in 0..60 {
        let mut data = whole.clone();
        for _ in 0..50 {
            let at = random() % data.len();
            data[at] ^= 1 << (random() % 8);
        }
        let _ = compile(&data[..], base);
    }
}
