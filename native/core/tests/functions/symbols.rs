//! Programs and libraries of C and C++.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use universal_tracer_core::error::ErrorKind;
use universal_tracer_core::functions::{Scope, resolve};

use super::support::{
    Directory, Segments, compiled, entry, found, of_file, output, readelf_functions, refused,
};

const C: &str = r#"
#include <stdlib.h>
int shared(int value) { return value + 1; }
static __attribute__((noinline)) int hidden(int value) { return shared(value) * 2; }
__attribute__((weak)) int maybe(void) { return 3; }
int also(int value) __attribute__((alias("shared")));
static int one(int value) { return value; }
static int (*choose(void))(int) { return one; }
int chosen(int value) __attribute__((ifunc("choose")));
int main(int count, char **words) { return hidden(count) + maybe() + chosen(1) + atoi(words[0]); }
"#;

/// `None` where there is no compiler.
fn program(directory: &Directory, flags: &[&str]) -> Option<std::path::PathBuf> {
    let source = directory.write("program.c", C);
    let program = directory.path("program");
    compiled(&source, &program, flags)?;
    Some(program)
}

/// Every place that readelf knows of is found, and no other.
fn assert_all(path: &Path) {
    let (Some(truth), Some(segments)) = (readelf_functions(path), Segments::read(path)) else {
        return;
    };
    let truth: BTreeSet<u64> = truth
        .iter()
        .map(|&address| segments.offset(address))
        .collect();
    let ours: BTreeSet<u64> = found(&of_file(path, "*")).iter().map(entry).collect();
    let differences: Vec<_> = ours.symmetric_difference(&truth).collect();
    assert!(
        differences.is_empty(),
        "{}: {differences:?}",
        path.display()
    );
    assert!(truth.len() > 4);
}

#[test]
fn every_function_of_a_program_however_linked() {
    let directory = Directory::new();
    for flags in [&["-O1"][..], &["-no-pie"], &["-static"], &["-static-pie"]] {
        let Some(path) = program(&directory, flags) else {
            return;
        };
        assert_all(&path);
    }
}

#[test]
fn local_weak_and_aliased() {
    let directory = Directory::new();
    let Some(path) = program(&directory, &["-O1"]) else {
        return;
    };
    for name in ["hidden", "maybe", "main"] {
        let functions = found(&of_file(&path, name));
        assert_eq!(functions.len(), 1, "{name}");
        assert_eq!(functions[0].name, name);
    }
    let both = found(&of_file(&path, "[sa]h*"));
    assert_eq!(both.len(), 1, "{both:?}");
    let both = found(&of_file(&path, "*"));
    let shared = both
        .iter()
        .find(|one| one.name == "also")
        .expect("the shorter name");
    assert_eq!(shared.aliases, ["shared"]);
    assert_eq!(entry(shared), entry(&found(&of_file(&path, "shared"))[0]));
}

#[test]
fn a_chooser_is_not_what_it_chooses() {
    let directory = Directory::new();
    let Some(path) = program(&directory, &[]) else {
        return;
    };
    let error = refused(&of_file(&path, "chosen"));
    assert_eq!(error.kind, ErrorKind::Target);
    assert!(error.cause.contains("IFUNC"), "{error:?}");
    assert!(
        found(&of_file(&path, "*"))
            .iter()
            .all(|one| one.name != "chosen")
    );
}

#[test]
fn what_is_only_called_lies_elsewhere() {
    let directory = Directory::new();
    let Some(path) = program(&directory, &[]) else {
        return;
    };
    let error = refused(&of_file(&path, "atoi"));
    assert!(error.cause.contains("only called there"), "{error:?}");
    assert!(error.hint.contains("u:libc:atoi"), "{error:?}");
}

#[test]
fn stripped_and_with_debug_information_beside() {
    let directory = Directory::new();
    let Some(path) = program(&directory, &["-O1", "-Wl,--build-id=none"]) else {
        return;
    };
    let name = path.to_str().expect("UTF-8");
    let whole = entry(&found(&of_file(&path, "hidden"))[0]);
    let debug = directory.path("program.debug");
    let debug = debug.to_str().expect("UTF-8");
    output("objcopy", &["--only-keep-debug", name, debug]).expect("binutils");
    output("strip", &[name]).expect("binutils");
    let error = refused(&of_file(&path, "hidden"));
    assert_eq!(error.kind, ErrorKind::Target);
    assert!(error.cause.contains("stripped"), "{error:?}");
    // by name and checksum
    let link = format!("--add-gnu-debuglink={debug}");
    output("objcopy", &[&link, name]).expect("binutils");
    assert_eq!(entry(&found(&of_file(&path, "hidden"))[0]), whole);
    // of another program
    let other = std::fs::read(debug).expect("it is there");
    std::fs::write(debug, [other.as_slice(), b"x"].concat()).expect("room");
    refused(&of_file(&path, "hidden"));
}

#[test]
fn compressed_symbols_inside() {
    let directory = Directory::new();
    let Some(path) = program(&directory, &["-O1"]) else {
        return;
    };
    let name = path.to_str().expect("UTF-8");
    let whole = entry(&found(&of_file(&path, "hidden"))[0]);
    let small = directory.path("small");
    let small = small.to_str().expect("UTF-8");
    output("objcopy", &["--only-keep-debug", name, small]).expect("binutils");
    output("strip", &[name]).expect("binutils");
    if output("xz", &[small]).is_none() {
        return;
    }
    let section = format!(".gnu_debugdata={small}.xz");
    output("objcopy", &["--add-section", &section, name]).expect("binutils");
    assert_eq!(entry(&found(&of_file(&path, "hidden"))[0]), whole);
}

#[test]
fn names_of_cpp_as_nm_demangles_them() {
    let directory = Directory::new();
    let source = directory.write(
        "program.cc",
        "namespace ns { template <class T> T twice(T x) { return x + x; }
           struct Box { int get(char *) const; Box operator+(const Box &); };
           int Box::get(char *) const { return 1; }
           Box Box::operator+(const Box &) { return *this; }
           int f(int) { return 1; } int f(double) { return 2; } }
         int main() { ns::Box box; return ns::twice(1) + (box + box).get(0) + ns::f(1) + ns::f(1.0); }",
    );
    let path = directory.path("program");
    if compiled(&source, &path, &[]).is_none() {
        return;
    }
    let text = output("nm", &["--demangle", path.to_str().expect("UTF-8")]).expect("binutils");
    let truth: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| {
            line.split_once([' '])
                .and_then(|(_, rest)| rest.split_once(' '))
        })
        .filter(|(kind, name)| matches!(*kind, "T" | "W" | "t") && name.contains("ns::"))
        .map(|(_, name)| name)
        .collect();
    let functions = found(&of_file(&path, "ns::*"));
    let ours: BTreeSet<&str> = functions.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(ours, truth);
    assert_eq!(found(&of_file(&path, "ns::f")).len(), 2);
    for name in [
        "ns::f(int)",
        "ns::Box::get",
        "ns::Box::operator+",
        "_ZN2ns1fEd",
        "ns::twice<int>",
    ] {
        assert_eq!(found(&of_file(&path, name)).len(), 1, "{name}");
    }
}

#[test]
fn versions_of_the_c_library() {
    let functions = found("u:libc:*");
    let path = functions[0].module.clone();
    let exported = readelf_functions(Path::new(&path)).expect("binutils");
    let segments = Segments::read(Path::new(&path)).expect("binutils");
    let ours: BTreeSet<u64> = functions.iter().map(entry).collect();
    let missing: Vec<_> = exported
        .iter()
        .filter(|address| !ours.contains(&segments.offset(**address)))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    let version = |spec: &str| {
        found(&of_file(Path::new(&path), spec))
            .iter()
            .map(entry)
            .collect()
    };
    let (current, old): (Vec<u64>, Vec<u64>) = (
        version("pthread_cond_signal"),
        version("pthread_cond_signal@GLIBC_2.2.5"),
    );
    assert_eq!((current.len(), old.len()), (1, 1));
    assert_ne!(current, old);
}

#[test]
fn a_process_runs_what_was_replaced_since() {
    let directory = Directory::new();
    let source = directory.write(
        "program.c",
        "#include <unistd.h>\nint old(void) { return 1; }\nint main(void) { return sleep(60); }",
    );
    let path = directory.path("program");
    if compiled(&source, &path, &[]).is_none() {
        return;
    }
    let mut child = Command::new(&path).spawn().expect("it starts");
    let new = directory.write(
        "program.c",
        "int fresh(void) { return 2; }\nint main(void) { return 0; }",
    );
    std::fs::remove_file(&path).expect("it is there");
    compiled(&new, &path, &[]).expect("it compiles again");
    let scope = Scope {
        pids: vec![child.id()],
        ..Scope::default()
    };
    let found = |name: &str| resolve(&[of_file(&path, name)], &scope);
    let (old, fresh) = (found("old"), found("fresh"));
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    match old {
        Ok(old) => assert_eq!(old.len(), 1),
        // by the mapping itself: only root may look
        Err(error) => assert_eq!(error.kind, ErrorKind::Target),
    }
    assert_eq!(fresh.expect("it is in the file").len(), 1);
}
