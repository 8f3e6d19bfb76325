//! Probes that programs bring along (USDT): notes in the file say where they are, and where their arguments lie.

mod operands;

use object::ReadRef;

use super::elf::{self, Elf};
use super::pattern::{Pattern, did_you_mean};
use super::scope::{Scope, ScopeFile};
use super::spec::FileName;
use super::{Function, Place, Site, bounded, symbols, user};
use crate::error::{Error, ErrorKind, Result};

/// Probes of one file; JVMs have some thousand.
const MAX_PROBES: usize = 100_000;
const STAPSDT: u32 = 3;

/// A note in a file.
#[derive(Debug)]
struct Probe {
    provider: String,
    name: String,
    address: u64,
    semaphore: u64,
    arguments: String,
}

/// The probes that a spec names, `limit` of them at most. One probe may be at several places.
pub(super) fn find(
    file: &FileName,
    provider: &Pattern,
    name: &Pattern,
    scope: &Scope,
    limit: usize,
) -> Result<Vec<Function>> {
    let wanted = format!("{}:{}", provider.text(), name.text());
    let files = user::files(file, &wanted, scope)?;
    let mut found = Vec::new();
    let mut known = Vec::new();
    let mut fault = None;
    for file in &files {
        match probes_of(file, provider, name, &mut known) {
            Ok(functions) => found.extend(functions),
            Err(error) => fault = fault.or(Some(error)),
        }
    }
    if found.is_empty() {
        // a file that cannot be read says more than one without the probe
        return Err(match (file, fault) {
            (FileName::Path(_) | FileName::Base(_), Some(error)) => error,
            _ => not_there(&wanted, &files, &known),
        });
    }
    bounded(found, &wanted, limit)
}

fn probes_of(
    file: &ScopeFile,
    provider: &Pattern,
    name: &Pattern,
    known: &mut Vec<String>,
) -> Result<Vec<Function>> {
    let bytes = elf::open(&file.path, &file.name)?;
    let elf = Elf::parse(&bytes).map_err(|cause| elf::no_code(&file.name, cause))?;
    let is = |wanted: &Pattern, name: &str| wanted.text() == name || wanted.matches(name);
    let mut found = Vec::new();
    for probe in probes(&elf) {
        if is(provider, &probe.provider) && is(name, &probe.name) {
            found.extend(function(&probe, file, &elf));
        } else {
            known.push(format!("{}:{}", probe.provider, probe.name));
        }
    }
    Ok(found)
}

/// `None` where the note leads outside of the file's code.
fn function<'a, R: ReadRef<'a>>(
    probe: &Probe,
    file: &ScopeFile,
    elf: &Elf<'a, R>,
) -> Option<Function> {
    let symbol = |name: &str| symbols::variable(elf, name);
    let name = format!("{}:{}", probe.provider, probe.name);
    Some(Function {
        place: Place::Usdt,
        name: name.clone(),
        symbol: name,
        module: file.name.clone(),
        aliases: Vec::new(),
        site: Site::Usdt {
            path: file.path.clone(),
            at: elf.offset(probe.address, true)?,
            semaphore: match probe.semaphore {
                0 => None,
                address => Some(elf.offset(address, false)?),
            },
        },
        arguments: operands::parse(&probe.arguments, probe.address, &symbol),
        result: None,
        note: None,
    })
}

fn probes<'a, R: ReadRef<'a>>(elf: &Elf<'a, R>) -> Vec<Probe> {
    let mut found = Vec::new();
    let Some(notes) = elf.section(".note.stapsdt") else {
        return found;
    };
    let base = elf.section(".stapsdt.base").map(|base| base.address);
    let mut rest = notes.bytes;
    while found.len() < MAX_PROBES {
        let Some(note) = note(rest) else { break };
        if note.kind == STAPSDT && note.owner == b"stapsdt\0" {
            found.extend(probe(note.description, base));
        }
        rest = note.rest;
    }
    found
}

/// A note of any kind.
#[derive(Debug)]
struct Note<'a> {
    kind: u32,
    owner: &'a [u8],
    description: &'a [u8],
    /// What follows it.
    rest: &'a [u8],
}

fn note(bytes: &[u8]) -> Option<Note<'_>> {
    let word = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    let (owner_bytes, description_bytes) = (word(0)? as usize, word(4)? as usize);
    let start = 12 + owner_bytes.next_multiple_of(4);
    let end = start + description_bytes.next_multiple_of(4);
    Some(Note {
        kind: word(8)?,
        owner: bytes.get(12..)?.get(..owner_bytes)?,
        description: bytes.get(start..)?.get(..description_bytes)?,
        rest: bytes.get(end..).unwrap_or_default(),
    })
}

/// Three addresses (probe, base, semaphore) and three texts (provider, name, arguments). Addresses are as they were
/// before prelinking moved the base.
fn probe(description: &[u8], base: Option<u64>) -> Option<Probe> {
    let (addresses, texts) = description.split_at_checked(24)?;
    let word = |index: usize| {
        let (words, _) = addresses.as_chunks::<8>();
        u64::from_le_bytes(words[index])
    };
    let moved = base.map_or(0, |base| base.wrapping_sub(word(1)));
    let mut texts = texts
        .split(|&byte| byte == 0)
        .map(|text| String::from_utf8_lossy(text).into_owned());
    Some(Probe {
        provider: texts.next()?,
        name: texts.next()?,
        arguments: texts.next()?,
        address: word(0).wrapping_add(moved),
        semaphore: match word(2) {
            0 => 0,
            semaphore => semaphore.wrapping_add(moved),
        },
    })
}

fn not_there(wanted: &str, files: &[ScopeFile], known: &[String]) -> Error {
    let place = match files {
        [file] => file.name.clone(),
        files => format!("the {} files that the targets run", files.len()),
    };
    let cause = if known.is_empty() {
        "there are no USDT probes at all".to_owned()
    } else {
        let guess = did_you_mean(wanted, known.iter().map(String::as_str));
        format!("none of the {} there has that name{guess}", known.len())
    };
    Error::new(
        ErrorKind::Target,
        format!("no USDT probe {wanted} in {place}"),
        cause,
        match files {
            [file] => format!(
                "universal-tracer --tracer stack --list 'usdt:{}:*'",
                file.name
            ),
            _ => "name the file: usdt:/path:provider:probe".to_owned(),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::{note, probe};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..200), length in 0u32..64) {
            let mut rest = bytes.as_slice();
            while let Some(note) = note(rest) {
                let _ = probe(note.description, Some(1));
                prop_assert!(note.rest.len() < rest.len());
                rest = note.rest;
            }
            let mut whole = vec![8, 0, 0, 0];
            whole.extend(length.to_le_bytes());
            whole.extend(&bytes);
            let _ = note(&whole);
        }
    }
}
