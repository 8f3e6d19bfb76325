//! Functions of programs and libraries.

use std::collections::BTreeMap;

use object::ReadRef;

use super::code_file::CodeFile;
use super::elf::Elf;
use super::exceptions;
use super::pattern::{Pattern, did_you_mean};
use super::scope::{Scope, ScopeFile};
use super::spec::FileName;
use super::symbols::Symbol;
use super::{Function, Place, Returns, Site, bounded, golang, names};
use crate::error::{Error, ErrorKind, Result};

/// The functions that a spec names, `limit` of them at most.
pub(super) fn find(
    file: &FileName,
    symbol: &Pattern,
    scope: &Scope,
    limit: usize,
) -> Result<Vec<Function>> {
    let files = files(file, symbol.text(), scope)?;
    let mut found = Vec::new();
    let mut faults = Vec::new();
    for file in &files {
        match find_in(file, symbol, limit) {
            Ok(functions) => found.push(functions),
            Err(error) => faults.push(error),
        }
    }
    if let Some(too_many) = position(&faults, ErrorKind::Usage) {
        return Err(faults.swap_remove(too_many));
    }
    if found.is_empty() {
        return Err(match file {
            FileName::Path(_) | FileName::Base(_) => faults.swap_remove(0),
            FileName::Any => nowhere(symbol, &files),
        });
    }
    if *file == FileName::Any {
        require_one_file(symbol, &found)?;
    }
    bounded(found.into_iter().flatten().collect(), symbol.text(), limit)
}

fn position(faults: &[Error], kind: ErrorKind) -> Option<usize> {
    faults.iter().position(|error| error.kind == kind)
}

/// The files that a spec means. Never empty.
pub(super) fn files(file: &FileName, wanted: &str, scope: &Scope) -> Result<Vec<ScopeFile>> {
    let files = match file {
        FileName::Path(path) => scope.files(path),
        FileName::Base(name) => scope.named(name),
        FileName::Any => scope.running(),
    };
    if !files.is_empty() {
        return Ok(files);
    }
    Err(match file {
        FileName::Base(name) => Error::new(
            ErrorKind::Target,
            format!("no program or library {name}"),
            "nobody who is traced runs it, and it is not installed in the usual places",
            format!("give its path: u:/path/of/{name}:{wanted}"),
        ),
        _ => Error::new(
            ErrorKind::Usage,
            format!("{wanted} does not say in which file it is"),
            "without --pid, --target-process or a COMMAND every file of the machine could be meant",
            format!("name the file or a library: u:libc:{wanted}"),
        ),
    })
}

fn find_in(file: &ScopeFile, wanted: &Pattern, limit: usize) -> Result<Vec<Function>> {
    let code = CodeFile::open(file)?;
    let elf = code.elf();
    let chosen = without_parts(choose(&code.symbols, wanted));
    let (resolvers, chosen): (Vec<_>, Vec<_>) =
        chosen.into_iter().partition(|symbol| symbol.is_resolver);
    let placed = by_place(&chosen, elf.as_ref());
    if placed.is_empty() {
        return Err(match resolvers.first() {
            Some(resolver) => chooses(resolver, &code),
            None => not_there(&code, wanted),
        });
    }
    let everything: Vec<&Symbol> = code.symbols.iter().collect();
    let all_names = by_place(&everything, elf.as_ref());
    let placed = placed.into_iter().map(|(entry, names)| {
        let symbol = preferred(names);
        let aliases = all_names.get(&entry).map_or(&[][..], Vec::as_slice);
        (entry, symbol, others(symbol, aliases))
    });
    let placed: Vec<_> = placed.collect();
    let addresses: Vec<u64> = placed.iter().map(|(_, symbol, _)| symbol.address).collect();
    let functions = placed.into_iter().map(|(entry, symbol, aliases)| Function {
        place: Place::User,
        name: names::demangled(&symbol.name).into_owned(),
        symbol: symbol.name.clone(),
        module: file.name.clone(),
        aliases,
        site: Site::User {
            path: file.path.clone(),
            entry,
            returns: Returns::Probe,
        },
        arguments: Vec::new(),
        result: None,
        note: None,
    });
    let mut functions = bounded(functions.collect(), wanted.text(), limit)?;
    if let Some(elf) = &elf {
        add_returns(&mut functions, &code.symbols, elf);
        exceptions::keep_returns(&mut functions, &code.symbols, elf);
    }
    add_signatures(&mut functions, &addresses, &code);
    functions.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(functions)
}

/// The symbols of exactly this name; where there is none, and it is a glob, those that match. Of versions the one that
/// new programs get.
fn choose<'a>(symbols: &'a [Symbol], wanted: &Pattern) -> Vec<&'a Symbol> {
    let is_named = |symbol: &&Symbol| {
        let version = symbol.version.as_ref().map(|(name, _)| name.as_str());
        names::is_named(&symbol.name, version, wanted)
    };
    let named: Vec<_> = symbols.iter().filter(is_named).collect();
    let is_current = |symbol: &&Symbol| symbol.version.as_ref().is_none_or(|(_, current)| *current);
    if named.iter().any(is_current) {
        return named.into_iter().filter(is_current).collect();
    }
    if !named.is_empty() || !wanted.is_glob() {
        return named;
    }
    symbols
        .iter()
        .filter(|symbol| names::matches(&symbol.name, wanted))
        .collect()
}

/// Who names a function does not mean the part of it that the compiler has put elsewhere, unless there is nothing else.
fn without_parts(chosen: Vec<&Symbol>) -> Vec<&Symbol> {
    let (parts, whole): (Vec<_>, Vec<_>) = chosen
        .into_iter()
        .partition(|symbol| symbol.name.contains(".cold"));
    if whole.is_empty() { parts } else { whole }
}

/// Names of the same code belong together; what is no code of the file is left out.
fn by_place<'a, 'b, R: ReadRef<'b>>(
    symbols: &[&'a Symbol],
    elf: Option<&Elf<'b, R>>,
) -> BTreeMap<u64, Vec<&'a Symbol>> {
    let mut places: BTreeMap<u64, Vec<&Symbol>> = BTreeMap::new();
    for symbol in symbols {
        if let Some(entry) = elf.and_then(|elf| elf.offset(symbol.address, true)) {
            places.entry(entry).or_default().push(symbol);
        }
    }
    places
}

/// The name that people know: global, not meant for insiders, short.
fn preferred(mut names: Vec<&Symbol>) -> &Symbol {
    let underscores = |name: &str| name.len() - name.trim_start_matches('_').len();
    names.sort_by_key(|symbol| {
        let name = symbol.name.as_str();
        let mangled = name.starts_with("_Z") || name.starts_with("_R");
        let inside = if mangled { 0 } else { underscores(name) };
        let old = symbol.version.as_ref().is_some_and(|(_, current)| !current);
        (symbol.is_local, old, inside, name.len(), name)
    });
    names[0]
}

/// The other names of the same code.
fn others(symbol: &Symbol, all: &[&Symbol]) -> Vec<String> {
    let mut names: Vec<String> = all
        .iter()
        .filter(|other| other.name != symbol.name)
        .map(|other| other.name.clone())
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Go's functions: where they begin for good, and where they return.
fn add_returns<'a, R: ReadRef<'a>>(
    functions: &mut [Function],
    symbols: &[Symbol],
    elf: &Elf<'a, R>,
) {
    let go: BTreeMap<u64, &Symbol> = symbols
        .iter()
        .filter(|symbol| symbol.is_go)
        .filter_map(|symbol| Some((elf.offset(symbol.address, true)?, symbol)))
        .collect();
    for function in functions {
        let Site::User { entry, returns, .. } = &mut function.site else {
            continue;
        };
        let Some(symbol) = go.get(entry) else {
            continue;
        };
        let code = elf.loaded(symbol.address, symbol.size);
        let first = *entry;
        match code.and_then(golang::places) {
            Some(places) if places.returns.is_empty() => {
                *entry += places.begin;
                *returns = Returns::None;
                function.note = Some("its end is not seen: it returns nowhere itself".to_owned());
            }
            Some(places) => {
                *entry += places.begin;
                *returns = Returns::At(places.returns.iter().map(|at| first + at).collect());
            }
            None => {
                *returns = Returns::None;
                function.note = Some("its end is not seen: its code cannot be decoded".to_owned());
            }
        }
    }
}

/// Arguments and results from debug information.
fn add_signatures(functions: &mut [Function], addresses: &[u64], code: &CodeFile) {
    let mut sorted = addresses.to_vec();
    sorted.sort_unstable();
    let mut signatures = code.signatures(&sorted);
    for (function, address) in functions.iter_mut().zip(addresses) {
        if let Some(signature) = signatures.remove(address) {
            function.arguments = signature.arguments;
            function.result = signature.result;
        }
    }
}

/// Several files could be meant, and the user can say which.
fn require_one_file(symbol: &Pattern, found: &[Vec<Function>]) -> Result<()> {
    let mut modules: Vec<&str> = found
        .iter()
        .flatten()
        .map(|function| function.module.as_str())
        .collect();
    modules.sort_unstable();
    modules.dedup();
    if modules.len() < 2 || symbol.is_glob() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Usage,
        format!("{} is in several files", symbol.text()),
        modules.join(", "),
        format!("name one: u:{}:{}", modules[0], symbol.text()),
    ))
}

fn nowhere(symbol: &Pattern, files: &[ScopeFile]) -> Error {
    let names: Vec<_> = files.iter().map(ScopeFile::base_name).take(8).collect();
    Error::new(
        ErrorKind::Target,
        format!("no function {}", symbol.text()),
        format!(
            "none of the {} files that the targets run has one: {}, ...",
            files.len(),
            names.join(", ")
        ),
        "name the file: u:/path:symbol",
    )
}

/// The symbol is a function that is called once, to choose the one for this processor.
fn chooses(resolver: &Symbol, code: &CodeFile) -> Error {
    let base = resolver.name.trim_start_matches('_');
    let pattern = Pattern::new(&format!("__{base}_*"));
    let chosen = code
        .symbols
        .iter()
        .find(|symbol| !symbol.is_resolver && pattern.matches(&symbol.name));
    let path = &code.file.name;
    Error::new(
        ErrorKind::Target,
        format!("{} of {path} is not the function itself", resolver.name),
        "it chooses, once, one of several for this processor (an IFUNC)",
        match chosen {
            Some(_) => format!("trace what it chooses from: 'u:{path}:{}'", pattern.text()),
            None => format!(
                "install the debug symbols of {path}, and trace 'u:{path}:{}'",
                pattern.text()
            ),
        },
    )
}

fn not_there(code: &CodeFile, wanted: &Pattern) -> Error {
    let (path, name) = (&code.file.name, wanted.text());
    let list = format!("universal-tracer --tracer stack --list 'u:{path}:*'");
    let (cause, hint) = if code.symbols.is_empty() {
        (
            "it is stripped: nothing in it names its functions".to_owned(),
            format!(
                "install the debug symbols of {path}, or trace functions of its libraries: ldd {path}"
            ),
        )
    } else if code.imported.iter().any(|imported| imported == name) {
        (
            "it is only called there; the function lies in a library".to_owned(),
            format!("name the library, such as u:libc:{name}; ldd {path} lists what it uses"),
        )
    } else {
        let known = code.symbols.iter().map(|symbol| symbol.name.as_str());
        (
            format!(
                "none of its {} functions has that name{}",
                code.symbols.len(),
                did_you_mean(name, known)
            ),
            list,
        )
    };
    Error::new(
        ErrorKind::Target,
        format!("no function {name} in {path}"),
        cause,
        hint,
    )
}

#[cfg(test)]
mod tests {
    use super::super::{MAX_FUNCTIONS, Returns, Scope, Site, resolve};
    use crate::error::ErrorKind;

    fn program() -> String {
        let program = std::env::current_exe().expect("this program");
        program.to_str().expect("a path in UTF-8").to_owned()
    }

    fn find(spec: &str) -> crate::error::Result<Vec<super::Function>> {
        resolve(&[spec.to_owned()], &Scope::default())
    }

    #[test]
    fn a_function_of_this_program_lies_where_it_runs() {
        let found = find(&format!("u:{}:main", program())).expect("main is there");
        let Site::User {
            path,
            entry,
            returns,
        } = &found[0].site
        else {
            panic!("{found:?}")
        };
        assert_eq!(path.to_str(), Some(program().as_str()));
        // a panic walks the stack of a program in Rust
        assert!(matches!(returns, Returns::Around { returns, .. } if !returns.is_empty()));
        assert!(*entry > 0);
    }

    #[test]
    fn the_same_function_twice_is_one() {
        let spec = format!("u:{}:main", program());
        let found = resolve(&[spec.clone(), spec], &Scope::default()).expect("main is there");
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn near_misses_and_globs_without_end() {
        let error = find(&format!("u:{}:mian", program())).expect_err("a swap");
        assert_eq!(error.kind, ErrorKind::Target);
        assert!(error.cause.contains("did you mean main?"), "{error:?}");
        let error = find(&format!("u:{}:*", program())).expect_err("all of Rust");
        assert_eq!(error.kind, ErrorKind::Usage);
        assert!(error.what.contains(&MAX_FUNCTIONS.to_string()), "{error:?}");
    }

    #[test]
    fn files_that_are_none() {
        for (path, kind) in [
            ("/no/such/file", ErrorKind::Target),
            ("/etc/passwd", ErrorKind::Target),
            ("/dev/null", ErrorKind::Target),
            ("/", ErrorKind::Target),
        ] {
            let error = find(&format!("u:{path}:main")).expect_err(path);
            assert_eq!(error.kind, kind, "{error:?}");
        }
    }

    #[test]
    fn without_targets_a_bare_name_says_too_little() {
        assert_eq!(find("u:malloc").expect_err("which?").kind, ErrorKind::Usage);
        let scope = Scope {
            pids: vec![std::process::id()],
            ..Scope::default()
        };
        let found = resolve(&["u:free".to_owned()], &scope).expect("one file has it");
        assert!(found[0].module.contains("libc"), "{found:?}");
    }
}
