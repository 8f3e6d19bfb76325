//! Functions of programs and libraries.

use super::elf::{self, Elf};
use super::scope::{Scope, ScopeFile};
use super::spec::FileName;
use super::symbols::{self, Symbol};
use super::{Function, Place, Returns, Site};
use crate::error::{Error, ErrorKind, Result};

/// The functions that a spec names.
pub(super) fn find(file: &FileName, symbol: &str, scope: &Scope) -> Result<Vec<Function>> {
    let FileName::Path(path) = file else {
        return Err(Error::new(
            ErrorKind::Usage,
            format!("cannot find the file of {symbol}"),
            "only files by their path are looked up yet",
            "write u:/path:symbol",
        ));
    };
    let mut found = Vec::new();
    for file in scope.files(path) {
        found.extend(find_in(&file, symbol)?);
    }
    Ok(found)
}

fn find_in(file: &ScopeFile, wanted: &str) -> Result<Vec<Function>> {
    let bytes = elf::open(&file.path, &file.name)?;
    let elf = Elf::parse(&bytes).map_err(|cause| elf::no_code(&file.name, cause))?;
    let (defined, _) = symbols::of_tables(&elf);
    let function = defined.iter().find(|symbol| symbol.name == wanted);
    let function = function.and_then(|symbol| Some((symbol, elf.offset(symbol.address, true)?)));
    let Some((symbol, entry)) = function else {
        return Err(Error::new(
            ErrorKind::Target,
            format!("no function {wanted} in {}", file.name),
            format!("none of its {} functions has that name", defined.len()),
            format!("universal-tracer --tracer stack --list 'u:{}:*'", file.name),
        ));
    };
    Ok(vec![function_of(file, symbol, entry)])
}

fn function_of(file: &ScopeFile, symbol: &Symbol, entry: u64) -> Function {
    Function {
        place: Place::User,
        name: symbol.name.clone(),
        symbol: symbol.name.clone(),
        module: file.name.clone(),
        site: Site::User {
            path: file.path.clone(),
            entry,
            returns: Returns::Probe,
        },
        arguments: Vec::new(),
        result: None,
        note: None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Returns, Scope, Site, resolve};

    #[test]
    fn a_function_of_this_program_lies_where_it_runs() {
        let program = std::env::current_exe().expect("this program");
        let spec = format!("u:{}:main", program.display());
        let found = resolve(&[spec], &Scope::default()).expect("main is there");
        let Site::User {
            path,
            entry,
            returns,
        } = &found[0].site
        else {
            panic!("{found:?}")
        };
        assert_eq!((path, returns), (&program, &Returns::Probe));
        assert!(*entry > 0);
    }
}
