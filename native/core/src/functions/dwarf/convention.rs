//! Where arguments are when a function begins, by the calling conventions of C and of Go.

use super::Signature;
use super::locations::{At, argument};
use super::types::Die;
use crate::functions::{Argument, Location, ValueType};

/// DWARF's numbers of the registers that carry arguments.
#[cfg(target_arch = "x86_64")]
const C_REGISTERS: &[u8] = &[5, 4, 1, 2, 8, 9];
#[cfg(target_arch = "aarch64")]
const C_REGISTERS: &[u8] = &[0, 1, 2, 3, 4, 5, 6, 7];
#[cfg(target_arch = "x86_64")]
const GO_REGISTERS: &[u8] = &[0, 3, 2, 5, 4, 8, 9, 10, 11];
#[cfg(target_arch = "aarch64")]
const GO_REGISTERS: &[u8] = &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
const VECTOR_REGISTERS: u8 = 8;
/// Structures up to this size may come in registers.
const SMALL: u64 = 16;
/// The first argument on the stack, from the stack pointer at the first instruction.
#[cfg(target_arch = "x86_64")]
const FIRST_ON_STACK: i32 = 8;
#[cfg(target_arch = "aarch64")]
const FIRST_ON_STACK: i32 = 0;

/// What a convention has to know of a parameter.
#[derive(Clone, Debug)]
pub(super) struct Parameter {
    pub(super) name: Option<String>,
    pub(super) value: ValueType,
    pub(super) size: u64,
    /// Whether its address is handed over; `None` where that is not known.
    pub(super) by_reference: Option<bool>,
    /// Of Go: registers for whole numbers and for floating-point ones.
    pub(super) words: Option<(u8, u8)>,
    pub(super) at: At,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Convention {
    C,
    /// Structures without a constructor of their own go as in C; others say how.
    Cpp,
    Rust,
    Go,
}

impl Convention {
    /// `None` for languages with another one, and for clones of functions that the compiler has changed.
    pub(super) fn of(function: &Die<'_, '_>) -> Option<Self> {
        Some(match function.language()? {
            gimli::DW_LANG_C
            | gimli::DW_LANG_C89
            | gimli::DW_LANG_C99
            | gimli::DW_LANG_C11
            | gimli::DW_LANG_C17 => Self::C,
            gimli::DW_LANG_C_plus_plus
            | gimli::DW_LANG_C_plus_plus_03
            | gimli::DW_LANG_C_plus_plus_11
            | gimli::DW_LANG_C_plus_plus_14
            | gimli::DW_LANG_C_plus_plus_17
            | gimli::DW_LANG_C_plus_plus_20 => Self::Cpp,
            gimli::DW_LANG_Rust => Self::Rust,
            gimli::DW_LANG_Go => Self::Go,
            _ => return None,
        })
    }

    /// `results` are Go's, `returned` is the others'.
    pub(super) fn signature(
        self,
        parameters: Vec<Parameter>,
        results: Vec<Parameter>,
        returned: Option<Parameter>,
    ) -> Signature {
        if self == Self::Go {
            let result = results.into_iter().next().map(go_result);
            return Signature {
                arguments: go_arguments(parameters),
                result,
            };
        }
        let mut registers = Registers::after_result(self, returned.as_ref());
        let arguments = parameters
            .into_iter()
            .map(|parameter| registers.place(self, parameter));
        Signature {
            arguments: arguments.collect(),
            result: returned.map(|result| match result.value {
                // in two registers, or by an address: not told
                ValueType::Counted { .. } => ValueType::Other,
                value => value,
            }),
        }
    }
}

/// Registers and places on the stack that are still free.
struct Registers {
    whole: std::slice::Iter<'static, u8>,
    vectors: u8,
    stack: i32,
    /// After something whose place is not known, nothing's is.
    is_known: bool,
}

impl Registers {
    fn after_result(convention: Convention, returned: Option<&Parameter>) -> Self {
        let mut registers = Self {
            whole: C_REGISTERS.iter(),
            vectors: VECTOR_REGISTERS,
            stack: FIRST_ON_STACK,
            is_known: true,
        };
        if let Some(result) = returned.filter(|result| result.value == ValueType::Other) {
            match (convention, result.by_reference) {
                _ if result.size > SMALL => registers.skip_address_of_result(),
                (Convention::Cpp, Some(true)) => registers.skip_address_of_result(),
                (Convention::C, _) | (Convention::Cpp, Some(false)) => {}
                _ => registers.is_known = false,
            }
        }
        registers
    }

    /// On x86-64 it comes as the first argument, on arm64 in a register of its own.
    fn skip_address_of_result(&mut self) {
        if cfg!(target_arch = "x86_64") {
            self.whole.next();
        }
    }

    fn place(&mut self, convention: Convention, parameter: Parameter) -> Argument {
        if !self.is_known {
            return argument(parameter, Location::Unreadable);
        }
        let location = match parameter.value {
            ValueType::Integer { .. }
            | ValueType::Boolean
            | ValueType::Pointer
            | ValueType::Text => self.next_whole(),
            ValueType::Float { bytes: 4 | 8 } => self.next_vector(),
            ValueType::Counted { .. } => return self.place_text(parameter),
            _ => {
                self.skip(convention, &parameter);
                Location::Unreadable
            }
        };
        argument(parameter, location)
    }

    /// Rust hands an address and a length over like two arguments.
    fn place_text(&mut self, mut parameter: Parameter) -> Argument {
        let (text, length) = (self.next_whole(), self.next_whole());
        if parameter.at == At::Unsaid {
            parameter.at = At::Pair(text, length);
        }
        argument(parameter, text)
    }

    fn next_whole(&mut self) -> Location {
        match self.whole.next() {
            Some(register) => Location::Register(*register),
            None => self.next_on_stack(),
        }
    }

    fn next_vector(&mut self) -> Location {
        match self.vectors.checked_sub(1) {
            Some(left) => {
                self.vectors = left;
                Location::Unreadable
            }
            None => self.next_on_stack(),
        }
    }

    fn next_on_stack(&mut self) -> Location {
        let at = self.stack;
        self.stack = self.stack.saturating_add(8);
        Location::Stack(at)
    }

    /// A structure by value, or a number that is wider than a register.
    fn skip(&mut self, convention: Convention, parameter: &Parameter) {
        let is_in_memory = cfg!(target_arch = "x86_64") && parameter.size > SMALL;
        match (convention, parameter.by_reference) {
            (Convention::Cpp, Some(true)) => {
                self.next_whole();
            }
            (Convention::C, _) | (Convention::Cpp, Some(false)) if is_in_memory => {
                let bytes = parameter.size.next_multiple_of(8);
                self.stack = self
                    .stack
                    .saturating_add(i32::try_from(bytes).unwrap_or(i32::MAX));
            }
            _ => self.is_known = false,
        }
    }
}

fn go_result(result: Parameter) -> ValueType {
    match (result.value, GO_REGISTERS) {
        (ValueType::Counted { .. }, [_, length, ..]) => ValueType::Counted {
            length: Location::Register(*length),
        },
        (value, _) => value,
    }
}

/// Values go whole into registers or whole onto the stack, each in its turn. Where on the stack is taken from debug
/// information alone.
fn go_arguments(parameters: Vec<Parameter>) -> Vec<Argument> {
    let mut next = 0;
    let mut place = |mut parameter: Parameter| {
        let (whole, floats) = parameter.words.unwrap_or((u8::MAX, 0));
        let Some(registers) = GO_REGISTERS.get(next..next + usize::from(whole)) else {
            return argument(parameter, Location::Unreadable);
        };
        next += usize::from(whole);
        let location = match (registers, floats) {
            ([first, ..], 0) => Location::Register(*first),
            _ => Location::Unreadable,
        };
        if let (At::Unsaid, ValueType::Counted { .. }, [text, length]) =
            (parameter.at, parameter.value, registers)
        {
            parameter.at = At::Pair(Location::Register(*text), Location::Register(*length));
        }
        argument(parameter, location)
    };
    parameters.into_iter().map(&mut place).collect()
}

#[cfg(test)]
mod tests {
    use super::{C_REGISTERS, Convention, FIRST_ON_STACK, GO_REGISTERS, Parameter};
    use crate::functions::dwarf::locations::At;
    use crate::functions::{Location, ValueType};

    const INT: ValueType = ValueType::Integer {
        bytes: 4,
        signed: true,
    };
    const TEXT: ValueType = ValueType::Counted {
        length: Location::Unreadable,
    };

    fn parameter(value: ValueType, size: u64, words: (u8, u8)) -> Parameter {
        Parameter {
            name: None,
            value,
            size,
            by_reference: Some(false),
            words: Some(words),
            at: At::Unsaid,
        }
    }

    fn places(
        convention: Convention,
        parameters: Vec<Parameter>,
        returned: Option<Parameter>,
    ) -> Vec<Location> {
        let signature = convention.signature(parameters, Vec::new(), returned);
        signature
            .arguments
            .iter()
            .map(|argument| argument.location)
            .collect()
    }

    #[test]
    fn c() {
        let int = || parameter(INT, 4, (1, 0));
        let double = || parameter(ValueType::Float { bytes: 8 }, 8, (0, 1));
        let many = (0..=C_REGISTERS.len()).map(|_| int()).collect();
        let found = places(Convention::C, many, None);
        assert_eq!(found[0], Location::Register(C_REGISTERS[0]));
        assert_eq!(found.last(), Some(&Location::Stack(FIRST_ON_STACK)));
        let found = places(Convention::C, vec![double(), int()], None);
        assert_eq!(
            found,
            [Location::Unreadable, Location::Register(C_REGISTERS[0])]
        );
        let unknown = parameter(ValueType::Other, 8, (1, 0));
        let found = places(Convention::C, vec![int(), unknown, int()], None);
        assert_eq!(found[1..], [Location::Unreadable, Location::Unreadable]);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn a_large_structure_is_returned_where_the_first_argument_says() {
        let large = parameter(ValueType::Other, 24, (3, 0));
        let found = places(
            Convention::C,
            vec![parameter(INT, 4, (1, 0))],
            Some(large.clone()),
        );
        assert_eq!(found, [Location::Register(C_REGISTERS[1])]);
        let found = places(Convention::C, vec![large, parameter(INT, 4, (1, 0))], None);
        assert_eq!(found[1], Location::Register(C_REGISTERS[0]));
    }

    #[test]
    fn go() {
        let text = parameter(TEXT, 16, (2, 0));
        let signature = Convention::Go.signature(
            vec![
                parameter(INT, 8, (1, 0)),
                text.clone(),
                parameter(INT, 8, (1, 0)),
            ],
            vec![text],
            None,
        );
        let locations: Vec<_> = signature.arguments.iter().map(|one| one.location).collect();
        assert_eq!(
            locations,
            [0, 1, 3].map(|index| Location::Register(GO_REGISTERS[index]))
        );
        let length = Location::Register(GO_REGISTERS[2]);
        assert_eq!(signature.arguments[1].kind, ValueType::Counted { length });
        let length = Location::Register(GO_REGISTERS[1]);
        assert_eq!(signature.result, Some(ValueType::Counted { length }));
    }
}
