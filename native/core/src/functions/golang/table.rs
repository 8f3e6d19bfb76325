//! Go's table of functions, which the program itself needs: it is there when symbols are stripped.

use object::ReadRef;

use crate::functions::elf::Elf;
use crate::functions::symbols::{MAX_SYMBOLS, Symbol};

/// Longer names are cut.
const MAX_NAME: usize = 4096;

/// How the table looks, which changed with Go's versions.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Version {
    Go1_2,
    Go1_16,
    /// Addresses are counted from the begin of the code, in four bytes.
    Go1_18,
}

/// The functions that a Go program was made of, whether stripped or not; `None` for other programs.
pub(crate) fn functions<'a, R: ReadRef<'a>>(
    elf: &Elf<'a, R>,
    text_symbol: Option<u64>,
) -> Option<Vec<Symbol>> {
    let section = elf
        .section(".gopclntab")
        .or_else(|| elf.section(".data.rel.ro.gopclntab"))?;
    Table::new(section.bytes, |stated| text_start(elf, stated, text_symbol))?.functions()
}

/// Where the addresses count from. Since Go 1.26 the table does not say that any more.
fn text_start<'a, R: ReadRef<'a>>(
    elf: &Elf<'a, R>,
    stated: u64,
    text_symbol: Option<u64>,
) -> Option<u64> {
    if stated != 0 && elf.offset(stated, true).is_some() {
        return Some(stated);
    }
    text_symbol
        .or_else(|| text_of_module(elf))
        .or_else(|| Some(elf.section(".text")?.address))
}

/// `runtime.moduledata.text`, in its place since Go 1.16.
fn text_of_module<'a, R: ReadRef<'a>>(elf: &Elf<'a, R>) -> Option<u64> {
    const TEXT: usize = 22 * 8;
    let module = elf.section(".go.module")?.bytes;
    let text = u64::from_le_bytes(*module.get(TEXT..)?.first_chunk()?);
    elf.offset(text, true).map(|_| text)
}

#[derive(Debug)]
struct Table<'a> {
    version: Version,
    text: u64,
    count: usize,
    names: &'a [u8],
    functions: &'a [u8],
}

impl<'a> Table<'a> {
    /// Layout: magic, two zeros, the smallest instruction, the size of a pointer; then words.
    fn new(bytes: &'a [u8], text_start: impl FnOnce(u64) -> Option<u64>) -> Option<Self> {
        const HEADER: usize = 8;
        let version = match u32_at(bytes, 0)? {
            0xffff_fffb => Version::Go1_2,
            0xffff_fffa => Version::Go1_16,
            0xffff_fff0 | 0xffff_fff1 => Version::Go1_18,
            _ => return None,
        };
        if bytes.get(7) != Some(&8) {
            return None;
        }
        let word = |index: usize| {
            let word = u64::from_le_bytes(*bytes.get(HEADER + 8 * index..)?.first_chunk()?);
            usize::try_from(word).ok()
        };
        let (names, functions) = match version {
            Version::Go1_2 => (0, HEADER + 8),
            Version::Go1_16 => (word(2)?, word(6)?),
            Version::Go1_18 => (word(3)?, word(7)?),
        };
        let text = match version {
            Version::Go1_18 => text_start(word(2)? as u64)?,
            _ => 0,
        };
        Some(Self {
            version,
            text,
            count: word(0)?.min(MAX_SYMBOLS),
            names: bytes.get(names..)?,
            functions: match version {
                Version::Go1_2 => bytes,
                _ => bytes.get(functions..)?,
            },
        })
    }

    fn functions(&self) -> Option<Vec<Symbol>> {
        let mut found = Vec::new();
        for index in 0..self.count {
            let (Some((start, about)), Some((end, _))) = (self.entry(index), self.entry(index + 1))
            else {
                break;
            };
            let Some(name) = self.name(about) else {
                continue;
            };
            found.push(Symbol {
                name,
                version: None,
                address: start,
                size: end.saturating_sub(start),
                is_resolver: false,
                is_local: false,
                is_go: true,
            });
        }
        (!found.is_empty()).then_some(found)
    }

    /// A function's address, and where more is said about it; behind the last one lies the end of the code.
    fn entry(&self, index: usize) -> Option<(u64, usize)> {
        if self.version == Version::Go1_18 {
            let address = u32_at(self.functions, 8 * index)?;
            let about = u32_at(self.functions, 8 * index + 4).unwrap_or(0);
            return Some((self.text.checked_add(u64::from(address))?, about as usize));
        }
        let start = if self.version == Version::Go1_2 {
            16
        } else {
            0
        };
        let at = start + 16 * index;
        let address = u64::from_le_bytes(*self.functions.get(at..)?.first_chunk()?);
        let about = self
            .functions
            .get(at + 8..)
            .and_then(|rest| rest.first_chunk());
        let about = about.map_or(0, |bytes| u64::from_le_bytes(*bytes));
        Some((address, usize::try_from(about).ok()?))
    }

    fn name(&self, about: usize) -> Option<String> {
        let address_bytes = if self.version == Version::Go1_18 {
            4
        } else {
            8
        };
        let at = u32_at(self.functions, about.checked_add(address_bytes)?)?;
        let name = self.names.get(at as usize..)?;
        let name = &name[..name.len().min(MAX_NAME)];
        let end = memchr::memchr(0, name)?;
        Some(String::from_utf8_lossy(&name[..end]).into_owned()).filter(|name| !name.is_empty())
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::Table;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_read(
            magic in prop::sample::select(vec![0xfbu8, 0xfa, 0xf0, 0xf1]),
            words in prop::collection::vec(prop_oneof![0u64..200, any::<u64>()], 0..40),
        ) {
            let mut bytes = vec![magic, 0xff, 0xff, 0xff, 0, 0, 1, 8];
            bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
            if let Some(table) = Table::new(&bytes, Some) {
                let _ = table.functions();
            }
        }
    }
}
