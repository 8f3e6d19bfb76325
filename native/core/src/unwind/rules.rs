//! How to find the caller's registers: the mirror of `struct unwind_rule`.

use gimli::{CfaRule, Encoding, EndianSlice, Expression, Operation, Register, RegisterRule};
use gimli::{LittleEndian, UnwindTableRow};

pub(crate) type Reader<'a> = EndianSlice<'a, LittleEndian>;

/// An architecture's numbers of the registers that are followed.
#[derive(Clone, Copy, Debug)]
pub struct Registers {
    stack_pointer: Register,
    frame_pointer: Register,
    return_address: Register,
    /// The return address is in its register until it is saved.
    has_link_register: bool,
}

pub(crate) const X86_64: Registers = Registers {
    stack_pointer: Register(7),
    frame_pointer: Register(6),
    return_address: Register(16),
    has_link_register: false,
};

pub(crate) const ARM64: Registers = Registers {
    stack_pointer: Register(31),
    frame_pointer: Register(29),
    return_address: Register(30),
    has_link_register: true,
};

/// What holds at an address.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Step {
    Rule(Rule),
    /// No function is known here.
    None,
    /// A thread's first function.
    Stop,
    /// Returns from a signal handler.
    Signal,
    /// A rule that is not understood.
    Unknown,
}

/// `enum cfa_kind`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum Cfa {
    StackPointer = 0,
    FramePointer = 1,
    StackPointerDeref = 2,
    FramePointerDeref = 3,
    Plt = 4,
    Register = 5,
}

/// `enum fp_kind`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum SavedFramePointer {
    Same = 0,
    AtCfa = 1,
    AtFramePointer = 2,
}

/// `enum ra_kind`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum ReturnAddress {
    AtCfa = 0,
    InLinkRegister = 1,
}

/// `struct unwind_rule`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Rule {
    pub cfa: Cfa,
    pub fp: SavedFramePointer,
    pub ra: ReturnAddress,
    pub cfa_offset: i32,
    pub fp_offset: i32,
    pub ra_offset: i32,
    pub post: i32,
}

impl Rule {
    pub(crate) fn to_bytes(self) -> [u8; 20] {
        let mut bytes = [0; 20];
        bytes[..3].copy_from_slice(&[self.cfa as u8, self.fp as u8, self.ra as u8]);
        let numbers = [self.cfa_offset, self.fp_offset, self.ra_offset, self.post];
        for (place, number) in bytes[4..].chunks_exact_mut(4).zip(numbers) {
            place.copy_from_slice(&number.to_ne_bytes());
        }
        bytes
    }
}

/// Where expressions are, and how to read them.
pub(crate) struct Context<'a, S> {
    pub(crate) section: &'a S,
    pub(crate) encoding: Encoding,
    pub(crate) registers: Registers,
}

impl<'a, S: gimli::UnwindSection<Reader<'a>>> Context<'_, S> {
    /// The step that a row of a function's table stands for.
    pub(crate) fn step(&self, row: &UnwindTableRow<usize>) -> Step {
        let Some((ra, ra_offset)) = self.return_address(row) else {
            return match row.register(self.registers.return_address) {
                Some(RegisterRule::Undefined) => Step::Stop,
                _ => Step::Unknown,
            };
        };
        let Some((cfa, cfa_offset, post)) = self.cfa(row.cfa()) else {
            return Step::Unknown;
        };
        let Some((fp, fp_offset)) = self.frame_pointer(row) else {
            return Step::Unknown;
        };
        Step::Rule(Rule {
            cfa,
            fp,
            ra,
            cfa_offset,
            fp_offset,
            ra_offset,
            post,
        })
    }

    fn return_address(&self, row: &UnwindTableRow<usize>) -> Option<(ReturnAddress, i32)> {
        match row.register(self.registers.return_address) {
            Some(RegisterRule::Offset(offset)) => {
                Some((ReturnAddress::AtCfa, i32::try_from(offset).ok()?))
            }
            // where a link register exists, not being saved is the rule
            None | Some(RegisterRule::SameValue) if self.registers.has_link_register => {
                Some((ReturnAddress::InLinkRegister, 0))
            }
            _ => None,
        }
    }

    fn frame_pointer(&self, row: &UnwindTableRow<usize>) -> Option<(SavedFramePointer, i32)> {
        match row.register(self.registers.frame_pointer) {
            None | Some(RegisterRule::Undefined | RegisterRule::SameValue) => {
                Some((SavedFramePointer::Same, 0))
            }
            Some(RegisterRule::Offset(offset)) => {
                Some((SavedFramePointer::AtCfa, i32::try_from(offset).ok()?))
            }
            Some(RegisterRule::Expression(expression)) => {
                let expression = expression.get(self.section).ok()?;
                match self.operations(expression)?.as_slice() {
                    [Part::Register(register, offset)]
                        if *register == self.registers.frame_pointer =>
                    {
                        Some((SavedFramePointer::AtFramePointer, *offset))
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// Kind, offset, and what the kind needs besides.
    fn cfa(&self, rule: &CfaRule<usize>) -> Option<(Cfa, i32, i32)> {
        match rule {
            CfaRule::RegisterAndOffset { register, offset } => {
                let offset = i32::try_from(*offset).ok()?;
                Some(if *register == self.registers.stack_pointer {
                    (Cfa::StackPointer, offset, 0)
                } else if *register == self.registers.frame_pointer {
                    (Cfa::FramePointer, offset, 0)
                } else {
                    (Cfa::Register, offset, register.0.into())
                })
            }
            CfaRule::Expression(expression) => {
                let expression = expression.get(self.section).ok()?;
                self.cfa_expression(&self.operations(expression)?)
            }
        }
    }

    fn cfa_expression(&self, parts: &[Part]) -> Option<(Cfa, i32, i32)> {
        use Part::{And, Constant, Deref, GreaterOrEqual, Plus, PlusConstant, Shift};
        let (Part::Register(register, offset), rest) = parts.split_first()? else {
            return None;
        };
        let is_stack_pointer = *register == self.registers.stack_pointer;
        if !is_stack_pointer && *register != self.registers.frame_pointer {
            return None;
        }
        let kind = if is_stack_pointer {
            Cfa::StackPointerDeref
        } else {
            Cfa::FramePointerDeref
        };
        match rest {
            [Deref] => Some((kind, *offset, 0)),
            [Deref, PlusConstant(post)] | [Deref, Constant(post), Plus] => {
                Some((kind, *offset, *post))
            }
            // a stub of a procedure linkage table: it pushes once on its way
            [
                Part::Register(pc, 0),
                Constant(15),
                And,
                Constant(threshold),
                GreaterOrEqual,
                Constant(3),
                Shift,
                Plus,
            ] if is_stack_pointer && *pc == self.registers.return_address => {
                Some((Cfa::Plt, *offset, *threshold))
            }
            _ => None,
        }
    }

    fn operations(&self, expression: Expression<Reader<'a>>) -> Option<Vec<Part>> {
        let mut operations = expression.operations(self.encoding);
        let mut parts = Vec::new();
        while let Some(operation) = operations.next().ok()? {
            parts.push(Part::from_operation(&operation)?);
        }
        Some(parts)
    }
}

/// The few operations that compilers and assemblers use to say where a frame is.
#[derive(Debug, PartialEq)]
enum Part {
    Register(Register, i32),
    Deref,
    PlusConstant(i32),
    Constant(i32),
    Plus,
    And,
    GreaterOrEqual,
    Shift,
}

impl Part {
    fn from_operation(operation: &Operation<Reader<'_>>) -> Option<Self> {
        Some(match operation {
            Operation::RegisterOffset {
                register, offset, ..
            } => Self::Register(*register, i32::try_from(*offset).ok()?),
            Operation::Deref { size: 8, .. } => Self::Deref,
            Operation::PlusConstant { value } => Self::PlusConstant(i32::try_from(*value).ok()?),
            Operation::UnsignedConstant { value } => Self::Constant(i32::try_from(*value).ok()?),
            Operation::SignedConstant { value } => Self::Constant(i32::try_from(*value).ok()?),
            Operation::Plus => Self::Plus,
            Operation::And => Self::And,
            Operation::Ge => Self::GreaterOrEqual,
            Operation::Shl => Self::Shift,
            _ => return None,
        })
    }
}
