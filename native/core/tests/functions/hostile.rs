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

/// Types that are made of themselves, and structures of 64 structures of 64 structures: debug information that no
/// compiler writes.
#[test]
fn types_without_an_end() {
    let directory = Directory::new();
    let source = directory.write("program.s", &endless_types());
    let path = directory.path("program");
    if compiled(&source, &path, &["-no-pie", "-nostdlib"]).is_none() {
        return;
    }
    let found = list(&[of_file(&path, "_start")], &Scope::default()).expect("it is there");
    assert_eq!(found[0].arguments.len(), 3 + LEVELS, "{found:?}");
}

const LEVELS: usize = 7;

fn endless_types() -> String {
    let mut text = String::from(
        ".globl _start\n.type _start, @function\n_start: ret\n.size _start, 1\nend:\n
         .section .debug_abbrev,\"\",@progbits
         .byte 1,0x11,1, 0x13,0x0b, 0x11,1, 0x12,7, 0,0
         .byte 2,0x2e,1, 0x11,1, 0,0
         .byte 3,5,0, 0x49,0x13, 0,0
         .byte 4,4,0, 0x49,0x13, 0x0b,0x0b, 0,0
         .byte 5,0x13,1, 0x0b,0x0b, 0,0
         .byte 6,0x0d,0, 0x49,0x13, 0,0
         .byte 7,0x16,0, 0x49,0x13, 0,0
         .byte 0
         .section .debug_info,\"\",@progbits
         head: .long behind - begin\nbegin: .short 4\n.long 0\n.byte 8
         .byte 1, 0x16\n.quad _start, end - _start
         .byte 2\n.quad _start\n",
    );
    for name in ["choice", "alias", "nested"] {
        text.push_str(&format!(".byte 3\n.long {name} - head\n"));
    }
    for level in 0..LEVELS {
        text.push_str(&format!(".byte 3\n.long level{level} - head\n"));
    }
    text.push_str(
        ".byte 0
         choice: .byte 4\n.long choice - head\n.byte 4
         alias: .byte 7\n.long alias - head
         nested: .byte 5, 8, 6\n.long nested - head\n.byte 0\n",
    );
    for level in 0..LEVELS {
        text.push_str(&format!("level{level}: .byte 5, 8\n"));
        for _ in 0..64 {
            text.push_str(&format!(".byte 6\n.long level{} - head\n", level + 1));
        }
        text.push_str(".byte 0\n");
    }
    text.push_str(&format!("level{LEVELS}: .byte 5, 0, 0\n.byte 0\nbehind:\n"));
    text
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
