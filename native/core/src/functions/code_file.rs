//! One program or library: all its functions, by every name that it or its debug information has for them.

use std::collections::HashMap;

use object::ReadRef;

use super::dwarf::{self, Signature};
use super::elf::{self, Bytes, Elf};
use super::scope::ScopeFile;
use super::symbols::{self, Symbol};
use super::{debug_files, golang};
use crate::error::Result;

/// A file, opened and understood.
#[derive(Debug)]
pub(super) struct CodeFile {
    pub(super) file: ScopeFile,
    pub(super) bytes: Bytes,
    pub(super) symbols: Vec<Symbol>,
    /// Names that are called here and lie elsewhere.
    pub(super) imported: Vec<String>,
    /// The file with the debug information, where it is another one.
    debug: Option<Bytes>,
}

impl CodeFile {
    /// # Errors
    /// [`crate::error::ErrorKind::Target`] where it is no code of this machine.
    pub(super) fn open(file: &ScopeFile) -> Result<Self> {
        let bytes = elf::open(&file.path, &file.name)?;
        let elf = Elf::parse(&bytes).map_err(|cause| elf::no_code(&file.name, cause))?;
        let (mut symbols, imported) = symbols::of_tables(&elf);
        let debug = debug_files::separate(&elf, file);
        if let Some(bytes) = &debug
            && let Ok(debug) = Elf::parse(bytes)
        {
            symbols.extend(symbols::of_tables(&debug).0);
        }
        if let Some(unpacked) = debug_files::unpacked(&elf)
            && let Ok(unpacked) = Elf::parse(unpacked.as_slice())
        {
            symbols.extend(symbols::of_tables(&unpacked).0);
        }
        add_go(&elf, &mut symbols);
        Ok(Self {
            file: file.clone(),
            symbols,
            imported,
            debug,
            bytes,
        })
    }

    /// What the functions at these addresses (sorted) take and return, as far as debug information says it.
    pub(super) fn signatures(&self, addresses: &[u64]) -> HashMap<u64, Signature> {
        let debug = self.debug.as_ref().and_then(|debug| Elf::parse(debug).ok());
        let mut found =
            debug.map_or_else(HashMap::new, |debug| dwarf::signatures(&debug, addresses));
        if found.is_empty()
            && let Some(elf) = self.elf()
        {
            found = dwarf::signatures(&elf, addresses);
        }
        found
    }

    /// The file's structure; it was understood before.
    pub(super) fn elf(&self) -> Option<Elf<'_, &Bytes>> {
        Elf::parse(&self.bytes).ok()
    }
}

/// Go's own table knows more than symbols do, and which of them are Go's.
fn add_go<'a, R: ReadRef<'a>>(elf: &Elf<'a, R>, symbols: &mut Vec<Symbol>) {
    let text = symbols.iter().find(|symbol| symbol.name == "runtime.text");
    let text = text.map(|symbol| symbol.address);
    let Some(go) = golang::functions(elf, text) else {
        return;
    };
    let places: HashMap<u64, u64> = go.iter().map(|own| (own.address, own.size)).collect();
    for symbol in symbols.iter_mut() {
        if let Some(size) = places.get(&symbol.address) {
            symbol.is_go = true;
            symbol.size = *size;
        }
    }
    symbols.extend(go);
}
