//! Probes that programs bring along, against `readelf --notes`.

use std::collections::BTreeMap;
use std::path::Path;

use universal_tracer_core::functions::Site;

use super::support::{Directory, Segments, compiled, found, output, refused};

#[derive(Debug, Default, PartialEq)]
struct Told {
    places: Vec<u64>,
    semaphores: Vec<Option<u64>>,
    arguments: usize,
}

fn truth(path: &Path) -> Option<BTreeMap<String, Told>> {
    let text = output("readelf", &["--notes", path.to_str()?])?;
    let segments = Segments::read(path)?;
    let mut told: BTreeMap<String, Told> = BTreeMap::new();
    let (mut provider, mut name) = ("", "");
    for line in text.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("Provider: ") {
            provider = rest;
        } else if let Some(rest) = line.strip_prefix("Name: ") {
            name = rest;
        } else if let Some(rest) = line.strip_prefix("Location: 0x") {
            let mut words = rest.split([',', ' ']);
            let hex = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok();
            let place = hex(words.next()?)?;
            let semaphore = hex(rest.rsplit(' ').next()?)?;
            let entry = told.entry(format!("{provider}:{name}")).or_default();
            entry.places.push(segments.offset(place));
            let semaphore = (semaphore != 0).then(|| segments.offset(semaphore));
            entry.semaphores.push(semaphore);
        } else if let Some(rest) = line.strip_prefix("Arguments:") {
            let count = rest.matches('@').count();
            told.entry(format!("{provider}:{name}"))
                .or_default()
                .arguments = count;
        }
    }
    Some(told)
}

fn assert_all(path: &str) -> usize {
    let path = Path::new(path);
    let Some(truth) = path.exists().then(|| truth(path)).flatten() else {
        println!("skipped: {} is not there", path.display());
        return 0;
    };
    let mut ours: BTreeMap<String, Told> = BTreeMap::new();
    for function in found(&format!("usdt:{}:*", path.display())) {
        let Site::Usdt { at, semaphore, .. } = function.site else {
            panic!("{function:?}")
        };
        let entry = ours.entry(function.name).or_default();
        entry.places.push(at);
        entry.semaphores.push(semaphore);
        entry.arguments = function.arguments.len();
    }
    assert_eq!(ours, truth);
    truth.len()
}

#[test]
fn the_probes_of_python_and_of_the_cpp_library() {
    let python = assert_all("/usr/bin/python3.11");
    let cpp = assert_all("/usr/lib/x86_64-linux-gnu/libstdc++.so.6");
    println!("{python} and {cpp} probes");
}

#[test]
fn a_probe_is_named_with_and_without_provider() {
    const PYTHON: &str = "/usr/bin/python3.11";
    if !Path::new(PYTHON).exists() {
        println!("skipped: {PYTHON} is not there");
        return;
    }
    for spec in ["python:gc__start", "gc__start", "p*:gc__st*"] {
        let functions = found(&format!("usdt:{PYTHON}:{spec}"));
        assert!(
            functions.iter().all(|one| one.name == "python:gc__start"),
            "{spec}"
        );
    }
    let error = refused(&format!("usdt:{PYTHON}:python:gc_start"));
    assert!(
        error.cause.contains("did you mean python:gc__start?"),
        "{error:?}"
    );
}

#[test]
fn a_file_without_probes_says_so() {
    let directory = Directory::new();
    let source = directory.write("program.c", "int main(void) { return 0; }");
    let path = directory.path("program");
    if compiled(&source, &path, &[]).is_none() {
        return;
    }
    let error = refused(&format!("usdt:{}:x:y", path.display()));
    assert!(error.cause.contains("no USDT probes"), "{error:?}");
}
