//! Files that somebody has damaged, or made on purpose: an answer or an error, in bounded time and room.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use proptest::prelude::*;
use universal_tracer_core::error::ErrorKind;
use universal_tracer_core::functions::{Scope, list};

use super::support::{Directory, compiled, of_file, refused};

fn small_program(directory: &Directory) -> Option<Vec<u8>> {
    let source = directory.write(
        "program.c",
        "int f(int value, char *text) { return value + text[0]; }\nint main(void) { return f(1, \"\"); }",
    );
    let path = directory.path("program");
    compiled(&source, &path, &["-g", "-O1"])?;
    std::fs::read(path).ok()
}

fn look(path: &Path) {
    let usdt = format!("usdt:{}:*", path.display());
    for spec in [of_file(path, "f"), of_file(path, "*"), usdt] {
        let _ = list(&[spec], &Scope::default());
    }
}

#[test]
fn damaged_files() {
    let directory = Directory::new();
    let Some(whole) = small_program(&directory) else {
        return;
    };
    let path = directory.path("damaged");
    let headers = 0x400.min(whole.len());
    let sections = u64::from_le_bytes(*whole[0x28..].first_chunk().expect("a header")) as usize;
    let place = prop_oneof![0..headers, sections..whole.len(), 0..whole.len()];
    let strategy = (
        prop::collection::vec((place, any::<u8>()), 0..24),
        0..=whole.len(),
    );
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(600)
    });
    let outcome = runner.run(&strategy, |(damage, length)| {
        let mut bytes = whole.clone();
        for (at, byte) in damage {
            bytes[at] = byte;
        }
        bytes.truncate(if length % 3 == 0 { length } else { bytes.len() });
        std::fs::write(&path, bytes).expect("room");
        look(&path);
        Ok(())
    });
    outcome.expect("no panic");
}

/// Sections as long as the file claims to be, which is longer than any memory: nothing is read of it.
#[test]
fn a_file_of_many_terabytes() {
    let directory = Directory::new();
    let Some(mut bytes) = small_program(&directory) else {
        return;
    };
    let table = u64::from_le_bytes(*bytes[0x28..].first_chunk().expect("a header")) as usize;
    let count = u16::from_le_bytes(*bytes[0x3c..].first_chunk().expect("a header")) as usize;
    const SIZE: usize = 0x20;
    for section in 1..count {
        let at = table + 64 * section + SIZE;
        bytes[at..at + 8].copy_from_slice(&(1u64 << 42).to_le_bytes());
    }
    let path = directory.path("huge");
    let mut file = File::create(&path).expect("room");
    file.write_all(&bytes).expect("room");
    if file
        .seek(SeekFrom::Start(1 << 43))
        .and_then(|_| file.set_len(1 << 43))
        .is_err()
    {
        println!("skipped: this file system has no files of 8 TiB");
        return;
    }
    look(&path);
    let error = refused(&of_file(&path, "f"));
    assert_eq!(error.kind, ErrorKind::Target, "{error:?}");
}

#[test]
fn a_file_for_another_processor_says_which() {
    let directory = Directory::new();
    let Some(mut bytes) = small_program(&directory) else {
        return;
    };
    let path = directory.path("foreign");
    bytes[18] = 243;
    std::fs::write(&path, &bytes).expect("room");
    let error = refused(&of_file(&path, "f"));
    assert!(error.cause.contains("riscv"), "{error:?}");
    bytes[4] = 1;
    std::fs::write(&path, &bytes).expect("room");
    assert!(refused(&of_file(&path, "f")).cause.contains("32 bits"));
    let script = directory.write("script", "#!/bin/sh\ntrue\n");
    assert!(refused(&of_file(&script, "f")).cause.contains("script"));
}
