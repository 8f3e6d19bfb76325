//! Arguments and results of a program's functions, from its debug information (DWARF).
//!
//! Where a parameter lies at the first instruction is taken from its location, which is exact also for optimised code
//! ([`locations`]); where that only says where the function will put it, from the calling convention ([`convention`]).

mod convention;
mod locations;
mod types;
mod units;

use std::borrow::Cow;
use std::collections::HashMap;

use gimli::{EndianSlice, LittleEndian, SectionId};

use super::elf::{Bytes, Elf};
use super::{Argument, ValueType};
use convention::{Convention, Parameter};
use types::Die;
use units::Units;

/// Entries that are looked at in one file; a program with debug information of gigabytes has as many.
const MAX_ENTRIES: usize = 50_000_000;
/// Parameters of a function.
const MAX_PARAMETERS: usize = 64;

type Reader<'a> = EndianSlice<'a, LittleEndian>;
type Dwarf<'a> = gimli::Dwarf<Reader<'a>>;
type Unit<'a> = gimli::Unit<Reader<'a>>;
type Entry<'a> = gimli::DebuggingInformationEntry<Reader<'a>>;

/// What a function takes and returns.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Signature {
    pub(super) arguments: Vec<Argument>,
    pub(super) result: Option<ValueType>,
}

/// The signatures of the functions at `addresses` (sorted), as far as the file describes them.
pub(super) fn signatures<'a>(
    elf: &Elf<'a, &'a Bytes>,
    addresses: &[u64],
) -> HashMap<u64, Signature> {
    let mut found = HashMap::new();
    if elf.section(".debug_info").is_none() || addresses.is_empty() {
        return found;
    }
    let load = |id: SectionId| -> Result<Cow<'a, [u8]>, ()> {
        Ok(elf.uncompressed(id.name()).unwrap_or_default())
    };
    let Ok(sections) = gimli::DwarfSections::load(load) else {
        return found;
    };
    let dwarf = sections.borrow(|section| EndianSlice::new(section, LittleEndian));
    let units = Units::new(&dwarf);
    let mut left = MAX_ENTRIES;
    for unit in units.those_with(|unit| has_any(&dwarf, unit, addresses)) {
        if read_unit(&units, unit, addresses, &mut left, &mut found).is_none() {
            break;
        }
    }
    found
}

/// Whether some of the addresses lie in the unit's code; one that does not say where its code is may have any.
fn has_any(dwarf: &Dwarf<'_>, unit: &Unit<'_>, addresses: &[u64]) -> bool {
    let Ok(mut ranges) = dwarf.unit_ranges(unit) else {
        return true;
    };
    let mut is_silent = true;
    while let Ok(Some(range)) = ranges.next() {
        is_silent = false;
        let from = addresses.partition_point(|&address| address < range.begin);
        if addresses
            .get(from)
            .is_some_and(|&address| address < range.end)
        {
            return true;
        }
    }
    is_silent
}

/// `None` when enough was read.
fn read_unit<'d, 'a>(
    units: &'d Units<'d, 'a>,
    unit: &'d Unit<'a>,
    addresses: &[u64],
    left: &mut usize,
    found: &mut HashMap<u64, Signature>,
) -> Option<()> {
    let mut entries = unit.entries();
    let mut wanted = Vec::new();
    while let Ok(Some(entry)) = entries.next_dfs() {
        *left = left.checked_sub(1)?;
        if entry.tag() == gimli::DW_TAG_subprogram
            && let Some(address) = first_address(units.dwarf, unit, entry)
            && addresses.binary_search(&address).is_ok()
        {
            wanted.push((address, entry.offset()));
        }
    }
    for (address, offset) in wanted {
        if let Ok(entry) = unit.entry(offset) {
            let function = Die::new(units, unit, entry);
            found.insert(address, signature(&function, address));
        }
    }
    Some(())
}

fn first_address(dwarf: &Dwarf<'_>, unit: &Unit<'_>, entry: &Entry<'_>) -> Option<u64> {
    let value = entry.attr_value(gimli::DW_AT_low_pc)?;
    dwarf.attr_address(unit, value).ok()?
}

fn signature(function: &Die<'_, '_>, address: u64) -> Signature {
    let mut parameters = Vec::new();
    let mut results = Vec::new();
    for child in function.parameters() {
        let kind = child.type_of();
        let parameter = Parameter {
            name: child.name(),
            value: kind.as_ref().map_or(ValueType::Other, Die::value),
            size: kind.as_ref().map_or(0, Die::size),
            by_reference: kind.as_ref().and_then(Die::is_by_reference),
            words: kind.as_ref().and_then(Die::go_words),
            at: locations::at(&child, function, address),
        };
        // Go describes results as parameters that the function changes
        if child.is_result() {
            results.push(parameter);
        } else {
            parameters.push(parameter);
        }
    }
    let Some(convention) = Convention::of(function) else {
        return locations::exact_only(parameters);
    };
    let returned = function.type_of();
    let returned = returned.as_ref().map(|kind| Parameter {
        name: None,
        value: kind.value(),
        size: kind.size(),
        by_reference: kind.is_by_reference(),
        words: kind.go_words(),
        at: locations::At::Unsaid,
    });
    convention.signature(parameters, results, returned)
}
