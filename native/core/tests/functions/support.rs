//! Files made for a test, and what other tools say of them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use universal_tracer_core::error::{Error, Result};
use universal_tracer_core::functions::{Function, Scope, Site, list, resolve};

/// A directory that goes with the test.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("universal-tracer-functions-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("room for a file");
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a command prints; `None` where it is not installed, which a test tells and skips.
pub(crate) fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let done = match Command::new(program).args(arguments).output() {
        Ok(done) => done,
        Err(error) => {
            println!("skipped: {program}: {error}");
            return None;
        }
    };
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{program} {arguments:?}: {said}");
    Some(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// A program of a C or C++ source, by the suffix of its name.
pub(crate) fn compiled(source: &Path, program: &Path, flags: &[&str]) -> Option<()> {
    let compiler = if source.extension()? == "c" {
        "gcc"
    } else {
        "g++"
    };
    let (source, program) = (source.to_str()?, program.to_str()?);
    output(compiler, &[flags, &["-o", program, source]].concat()).map(drop)
}

pub(crate) fn found(spec: &str) -> Vec<Function> {
    list(&[spec.to_owned()], &Scope::default()).unwrap_or_else(|error| panic!("{spec}: {error:?}"))
}

pub(crate) fn refused(spec: &str) -> Error {
    let all: Result<_> = resolve(&[spec.to_owned()], &Scope::default());
    all.map(|found| found.len()).expect_err(spec)
}

pub(crate) fn of_file(path: &Path, symbol: &str) -> String {
    format!("u:{}:{symbol}", path.display())
}

pub(crate) fn entry(function: &Function) -> u64 {
    match function.site {
        Site::User { entry, .. } => entry,
        _ => panic!("{function:?}"),
    }
}

/// A place in a file by its address, from `readelf -lW`: (address, offset, bytes) of what is loaded.
pub(crate) struct Segments(Vec<(u64, u64, u64)>);

impl Segments {
    pub(crate) fn read(path: &Path) -> Option<Self> {
        let text = output("readelf", &["-lW", path.to_str()?])?;
        let hex = |text: &str| u64::from_str_radix(text.strip_prefix("0x")?, 16).ok();
        let loads = text.lines().filter_map(|line| {
            let parts: Vec<_> = line.split_whitespace().collect();
            (parts.first()? == &"LOAD").then_some(())?;
            Some((hex(parts[2])?, hex(parts[1])?, hex(parts[4])?))
        });
        Some(Self(loads.collect()))
    }

    pub(crate) fn address(&self, wanted: u64) -> u64 {
        let within =
            |&&(_, offset, bytes): &&(u64, u64, u64)| wanted >= offset && wanted - offset < bytes;
        let (start, offset, _) = self.0.iter().find(within).expect("a place in the file");
        wanted - offset + start
    }

    pub(crate) fn offset(&self, address: u64) -> u64 {
        let within =
            |&&(start, _, bytes): &&(u64, u64, u64)| address >= start && address - start < bytes;
        let (start, offset, _) = self.0.iter().find(within).expect("a loaded address");
        address - start + offset
    }
}

/// Addresses of defined functions by `readelf -sW`; parts of functions that lie elsewhere are none.
pub(crate) fn readelf_functions(path: &Path) -> Option<Vec<u64>> {
    let text = output("readelf", &["-sW", path.to_str()?])?;
    let functions = text.lines().filter_map(|line| {
        // NUMBER: VALUE SIZE TYPE BIND VISIBILITY SECTION NAME
        let parts: Vec<_> = line.split_whitespace().collect();
        let is_part = parts.get(7).is_some_and(|name| name.contains(".cold"));
        let is_defined = parts.get(3)? == &"FUNC" && parts.get(6)? != &"UND" && !is_part;
        u64::from_str_radix(parts[1], 16)
            .ok()
            .filter(|_| is_defined)
    });
    Some(functions.collect())
}
