//! The functions that a file's symbol tables name.

use object::elf::{self, Sym64};
use object::read::StringTable;
use object::read::elf::{SectionHeader, Sym};
use object::{LittleEndian, ReadRef, SymbolIndex};

use super::elf::Elf;

/// Functions of one file; Chromium has a million.
pub(super) const MAX_SYMBOLS: usize = 4 << 20;

/// A function by one of its names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Symbol {
    /// As in the table, without its version.
    pub(super) name: String,
    /// Of a versioned symbol, and whether it is the one that new programs get.
    pub(super) version: Option<(String, bool)>,
    pub(super) address: u64,
    pub(super) size: u64,
    /// It is called once, to choose the function that is called then.
    pub(super) is_resolver: bool,
    pub(super) is_local: bool,
    /// Made by Go: no return probes, arguments in its own registers.
    pub(super) is_go: bool,
}

/// All functions that `.symtab` and `.dynsym` name, and the names that are only imported.
pub(super) fn of_tables<'a, R: ReadRef<'a>>(elf: &Elf<'a, R>) -> (Vec<Symbol>, Vec<String>) {
    let mut defined = Vec::new();
    let mut imported = Vec::new();
    for kind in [elf::SHT_SYMTAB, elf::SHT_DYNSYM] {
        read(elf, kind, &mut defined, &mut imported);
    }
    (defined, imported)
}

fn read<'a, R: ReadRef<'a>>(
    elf: &Elf<'a, R>,
    kind: elf::SectionType,
    defined: &mut Vec<Symbol>,
    imported: &mut Vec<String>,
) -> Option<()> {
    let endian = LittleEndian;
    let table = elf
        .sections
        .iter()
        .find(|section| section.sh_type(endian) == kind)?;
    let symbols: &[Sym64<LittleEndian>] = table.data_as_array(endian, elf.data).ok()?;
    // the names at once: one read for each takes a hundred times longer
    let names = elf.sections.section(table.link(endian)).ok()?;
    let names = names.data(endian, elf.data).ok()?;
    let strings = StringTable::new(names, 0, names.len() as u64);
    let versions = elf.sections.versions(endian, elf.data).ok().flatten();
    let versions = versions.filter(|_| kind == elf::SHT_DYNSYM);
    for (index, symbol) in symbols.iter().enumerate().take(MAX_SYMBOLS) {
        let is_resolver = symbol.st_type() == elf::STT_GNU_IFUNC;
        if symbol.st_type() != elf::STT_FUNC && !is_resolver {
            continue;
        }
        let Ok(name) = symbol.name(endian, strings) else {
            continue;
        };
        let name = String::from_utf8_lossy(name).into_owned();
        if symbol.is_undefined(endian) {
            imported.push(name);
            continue;
        }
        let version = versions.as_ref().and_then(|versions| {
            let index = versions.version_index(endian, SymbolIndex(index));
            let version = versions.version(index.index()).ok().flatten()?;
            let name = String::from_utf8_lossy(version.name()).into_owned();
            Some((name, !index.is_hidden()))
        });
        defined.push(Symbol {
            name,
            version,
            address: symbol.st_value(endian),
            size: symbol.st_size(endian),
            is_resolver,
            is_local: symbol.is_local(),
            is_go: false,
        });
    }
    Some(())
}

/// The address of a variable.
pub(super) fn variable<'a, R: ReadRef<'a>>(elf: &Elf<'a, R>, name: &str) -> Option<u64> {
    let endian = LittleEndian;
    [elf::SHT_SYMTAB, elf::SHT_DYNSYM].iter().find_map(|kind| {
        let table = elf.sections.symbols(endian, elf.data, *kind).ok()?;
        let strings = elf.sections.section(table.string_section()).ok()?;
        let strings = strings.data(endian, elf.data).ok()?;
        let strings = StringTable::new(strings, 0, strings.len() as u64);
        let is_it = |symbol: &&Sym64<LittleEndian>| {
            !symbol.is_undefined(endian) && symbol.name(endian, strings) == Ok(name.as_bytes())
        };
        table
            .iter()
            .find(is_it)
            .map(|symbol| symbol.st_value(endian))
    })
}
