//! Where a parameter lies when its function begins, as debug information says it.

use gimli::Operation;

use super::convention::Parameter;
use super::types::Die;
use super::{Reader, Signature};
use crate::functions::{Argument, Location, ValueType};

/// What is known of a place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum At {
    /// Exactly there.
    Here(Location),
    /// In two parts: a text and its length.
    Pair(Location, Location),
    /// Nowhere: the compiler has left it out.
    Nowhere,
    /// Only where the function will put it; the calling convention says where it is.
    Unsaid,
}

/// From the caller's stack pointer to the one at the first instruction.
#[cfg(target_arch = "x86_64")]
const RETURN_ADDRESS: i64 = 8;
#[cfg(target_arch = "aarch64")]
const RETURN_ADDRESS: i64 = 0;

pub(super) fn at(parameter: &Die<'_, '_>, function: &Die<'_, '_>, address: u64) -> At {
    use gimli::AttributeValue::Exprloc;

    let (dwarf, unit) = (parameter.units.dwarf, parameter.unit);
    let Some(value) = parameter.entry.attr_value(gimli::DW_AT_location) else {
        return At::Unsaid;
    };
    if let Exprloc(expression) = value {
        return read(expression, function);
    }
    let Ok(Some(mut entries)) = dwarf.attr_locations(unit, value) else {
        return At::Unsaid;
    };
    while let Ok(Some(entry)) = entries.next() {
        if entry.range.begin <= address && address < entry.range.end {
            return read(entry.data, function);
        }
    }
    At::Nowhere
}

fn read(expression: gimli::Expression<Reader<'_>>, function: &Die<'_, '_>) -> At {
    let mut operations = expression.operations(function.unit.encoding());
    let mut parts = Vec::new();
    while let Ok(Some(operation)) = operations.next() {
        if parts.len() == 4 {
            return At::Unsaid;
        }
        parts.push(operation);
    }
    match parts.as_slice() {
        [] => At::Nowhere,
        [Operation::Register { register }] => here(register.0),
        [Operation::FrameOffset { offset }] => on_stack(*offset, function),
        [
            Operation::Register { register },
            Operation::Piece { .. },
            Operation::Register { register: length },
            Operation::Piece { .. },
        ] => match (here(register.0), here(length.0)) {
            (At::Here(text), At::Here(length)) => At::Pair(text, length),
            _ => At::Nowhere,
        },
        [Operation::CallFrameCFA] => stack(0),
        [Operation::CallFrameCFA, Operation::PlusConstant { value }] => {
            i64::try_from(*value).map_or(At::Unsaid, stack)
        }
        _ => At::Unsaid,
    }
}

/// Numbers beyond the general registers are those of vectors.
fn here(register: u16) -> At {
    match u8::try_from(register) {
        Ok(register) if register < GENERAL_REGISTERS => At::Here(Location::Register(register)),
        _ => At::Here(Location::Unreadable),
    }
}

#[cfg(target_arch = "x86_64")]
const GENERAL_REGISTERS: u8 = 16;
#[cfg(target_arch = "aarch64")]
const GENERAL_REGISTERS: u8 = 32;

/// Above the frame the caller has put it there; below, the function will.
fn on_stack(offset: i64, function: &Die<'_, '_>) -> At {
    let frame_base = function.entry.attr_value(gimli::DW_AT_frame_base);
    let Some(gimli::AttributeValue::Exprloc(base)) = frame_base else {
        return At::Unsaid;
    };
    let mut operations = base.operations(function.unit.encoding());
    match operations.next() {
        Ok(Some(Operation::CallFrameCFA)) if offset >= 0 => stack(offset),
        _ => At::Unsaid,
    }
}

fn stack(offset: i64) -> At {
    match i32::try_from(offset.saturating_add(RETURN_ADDRESS)) {
        Ok(offset) => At::Here(Location::Stack(offset)),
        Err(_) => At::Nowhere,
    }
}

/// What can be said without a calling convention.
pub(super) fn exact_only(parameters: Vec<Parameter>) -> Signature {
    let arguments = parameters
        .into_iter()
        .map(|parameter| argument(parameter, Location::Unreadable));
    Signature {
        arguments: arguments.collect(),
        result: None,
    }
}

/// The exact place where there is one, else the convention's.
pub(super) fn argument(parameter: Parameter, by_convention: Location) -> Argument {
    let (location, length) = match parameter.at {
        At::Here(location) => (location, None),
        At::Pair(text, length) => (text, Some(length)),
        At::Nowhere => (Location::Unreadable, None),
        At::Unsaid => (by_convention, None),
    };
    let kind = match (parameter.value, length) {
        (ValueType::Counted { .. }, Some(length)) => ValueType::Counted { length },
        (kind, _) => kind,
    };
    let is_whole = !matches!(
        kind,
        ValueType::Other
            | ValueType::Counted {
                length: Location::Unreadable
            }
    );
    Argument {
        name: parameter.name,
        kind,
        location: if is_whole {
            location
        } else {
            Location::Unreadable
        },
    }
}
