//! The kernel's table of functions: how to read the arguments of each; mirror of `struct function_spec`.

use libbpf_rs::{MapCore, MapFlags, MapHandle};

use super::record::{MAX_ARGUMENTS, MAX_TEXTS};
use crate::error::{Error, ErrorKind, Result};
use crate::functions::{Argument, Function, Location, Returns, Site, ValueType};

const VALUE_BYTES: usize = 24;
const ARGUMENT_BYTES: usize = 2 * VALUE_BYTES + 8;
const SPEC_BYTES: usize = 8 + MAX_ARGUMENTS * ARGUMENT_BYTES;

/// `enum function_flag`.
const IS_GO: u32 = 1 << 0;
const NO_RETURN: u32 = 1 << 1;

/// Where `struct pt_regs` holds a register, by its number in DWARF.
#[cfg(target_arch = "x86_64")]
const REGISTERS: [u16; 17] = [
    80, 96, 88, 40, 104, 112, 32, 152, 72, 64, 56, 48, 24, 16, 8, 0, 128,
];

/// DWARF's numbers of the registers in which the kernel's functions get their parameters.
#[cfg(target_arch = "x86_64")]
const PARAMETERS: [u8; 6] = [5, 4, 1, 2, 8, 9];
#[cfg(target_arch = "aarch64")]
const PARAMETERS: [u8; 8] = [0, 1, 2, 3, 4, 5, 6, 7];

/// The arguments that are read: as many as the kernel's part can carry.
pub(crate) fn told_arguments(function: &Function) -> &[Argument] {
    &function.arguments[..function.arguments.len().min(MAX_ARGUMENTS)]
}

/// `enum text_kind`: how the text is found that an argument is; 0 where it is none.
fn text_kind(argument: &Argument) -> u8 {
    match (argument.kind, argument.location) {
        (ValueType::Text, Location::Parameter(_)) => 5,
        (ValueType::Text, Location::Dynamic { .. }) => 4,
        (ValueType::Text, _) => 1,
        (ValueType::Counted { .. }, _) => 2,
        (ValueType::Characters { .. }, Location::Dynamic { .. }) => 4,
        (ValueType::Characters { .. }, _) => 3,
        _ => 0,
    }
}

/// Which of a call's texts an argument is; `None` for other values, and for one text too many.
pub(crate) fn text_slot(function: &Function, index: usize) -> Option<usize> {
    let arguments = told_arguments(function);
    let before = &arguments[..index];
    let slot = before.iter().filter(|other| text_kind(other) != 0).count();
    (text_kind(&arguments[index]) != 0 && slot < MAX_TEXTS).then_some(slot)
}

/// Tells the kernel's part about every function; its number is its place in the list.
pub(crate) fn fill(map: &MapHandle, functions: &[Function]) -> Result<()> {
    for (number, function) in (0u32..).zip(functions) {
        map.update(&number.to_ne_bytes(), &spec(function), MapFlags::ANY)
            .map_err(|error| {
                Error::new(
                    ErrorKind::Failed,
                    "cannot fill the table of functions",
                    error,
                    "name fewer functions",
                )
            })?;
    }
    Ok(())
}

fn spec(function: &Function) -> Vec<u8> {
    let arguments = told_arguments(function);
    let flags = match &function.site {
        Site::User { returns, .. } => match returns {
            Returns::Probe | Returns::Around { .. } => 0,
            Returns::At(_) => IS_GO,
            Returns::None => NO_RETURN,
        },
        Site::Kernel { .. } => 0,
        Site::Usdt { .. } | Site::Tracepoint { .. } => NO_RETURN,
    };
    let mut bytes = Vec::with_capacity(SPEC_BYTES);
    bytes.extend(flags.to_ne_bytes());
    bytes.extend((arguments.len() as u32).to_ne_bytes());
    for (index, argument) in arguments.iter().enumerate() {
        bytes.extend(argument_spec(argument, text_slot(function, index)));
    }
    bytes.resize(SPEC_BYTES, 0);
    bytes
}

/// `struct argument_spec`.
fn argument_spec(argument: &Argument, text: Option<usize>) -> Vec<u8> {
    let bytes = value_bytes(argument.kind);
    let length = match argument.kind {
        ValueType::Counted { length } => length,
        _ => Location::Unreadable,
    };
    let (slot, kind) = text.map_or((0, 0), |slot| (slot as u8, text_kind(argument)));
    let mut spec = Vec::with_capacity(ARGUMENT_BYTES);
    spec.extend(value_spec(argument.location, bytes));
    spec.extend(value_spec(length, 8));
    spec.extend([slot, kind, 0, 0, 0, 0, 0, 0]);
    spec
}

/// Bytes of a value in a tracepoint's record.
fn value_bytes(kind: ValueType) -> u16 {
    match kind {
        ValueType::Integer { bytes, .. } | ValueType::Float { bytes } => bytes.into(),
        ValueType::Boolean => 1,
        ValueType::Characters { bytes } => bytes,
        _ => 8,
    }
}

/// `struct value_spec`.
fn value_spec(location: Location, bytes: u16) -> [u8; VALUE_BYTES] {
    let nothing = Value::default();
    let value = match location {
        Location::Unreadable => nothing,
        Location::Parameter(number) => {
            PARAMETERS
                .get(usize::from(number))
                .map_or(nothing, |at| Value {
                    place: 1,
                    base: register(*at),
                    ..nothing
                })
        }
        Location::Register(number) => Value {
            place: 1,
            base: register(number),
            ..nothing
        },
        Location::Stack(offset) => Value {
            place: 2,
            offset,
            ..nothing
        },
        Location::Memory {
            register: base,
            offset,
        } => Value {
            place: 3,
            base: register(base),
            offset,
            ..nothing
        },
        Location::Indexed {
            base,
            index,
            shift,
            offset,
        } => Value {
            place: 4,
            shift,
            base: register(base),
            index: register(index),
            offset,
            ..nothing
        },
        Location::Relative(constant) => Value {
            place: 5,
            constant,
            ..nothing
        },
        Location::Constant(constant) => Value {
            place: 6,
            constant,
            ..nothing
        },
        Location::Field { offset } => Value {
            place: 7,
            base: offset,
            ..nothing
        },
        // the word that says where the characters are
        Location::Dynamic { offset } => {
            return Value {
                place: 7,
                base: offset,
                ..nothing
            }
            .to_bytes(4);
        }
    };
    value.to_bytes(bytes)
}

#[derive(Clone, Copy, Default)]
struct Value {
    place: u8,
    shift: u8,
    base: u16,
    index: u16,
    offset: i32,
    constant: i64,
}

impl Value {
    fn to_bytes(self, bytes: u16) -> [u8; VALUE_BYTES] {
        let mut spec = [0; VALUE_BYTES];
        spec[0] = self.place;
        spec[1] = self.shift;
        spec[2..4].copy_from_slice(&self.base.to_ne_bytes());
        spec[4..6].copy_from_slice(&self.index.to_ne_bytes());
        spec[6..8].copy_from_slice(&bytes.to_ne_bytes());
        spec[8..12].copy_from_slice(&self.offset.to_ne_bytes());
        spec[16..24].copy_from_slice(&self.constant.to_ne_bytes());
        spec
    }
}

#[cfg(target_arch = "x86_64")]
fn register(number: u8) -> u16 {
    REGISTERS.get(usize::from(number)).copied().unwrap_or(0)
}

/// x0 … x30, sp
#[cfg(target_arch = "aarch64")]
fn register(number: u8) -> u16 {
    u16::from(number.min(31)) * 8
}
