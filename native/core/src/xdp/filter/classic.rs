//! Classic BPF, the machine that libpcap compiles for.

/// `struct bpf_insn`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Instruction {
    pub code: u16,
    pub jump_true: u8,
    pub jump_false: u8,
    pub k: u32,
}

/// Cells of the scratch memory.
pub(super) const MEMORY: u32 = 16;

/// Where an operand is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Source {
    K,
    X,
}

/// One of the two registers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Register {
    A,
    X,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Condition {
    Equal,
    Greater,
    GreaterOrEqual,
    AnyBit,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    And,
    Or,
    Xor,
    ShiftLeft,
    ShiftRight,
}

/// What an instruction does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// A = the bytes at K.
    LoadAbsolute {
        size: u8,
    },
    /// A = the bytes at X + K.
    LoadIndexed {
        size: u8,
    },
    /// X = 4 × the low half of the byte at K: the length of an IPv4 header.
    LoadHeaderLength,
    LoadImmediate(Register),
    LoadMemory(Register),
    LoadLength(Register),
    Store(Register),
    Arithmetic(Arithmetic, Source),
    Negate,
    Jump,
    JumpIf(Condition, Source),
    ReturnK,
    ReturnA,
    /// X = A.
    CopyToX,
    /// A = X.
    CopyToA,
}

impl Instruction {
    /// Whether it jumps backwards; never so but in `protochain`.
    pub(super) fn goes_back(&self) -> bool {
        self.step() == Some(Step::Jump) && self.k.cast_signed() < 0
    }

    /// `None` for what is no instruction of libpcap's.
    pub(super) fn step(&self) -> Option<Step> {
        let class = self.code & 0x07;
        match class {
            0x00 => self.load(),
            0x01 => self.load_x(),
            0x02 => self.store(Register::A),
            0x03 => self.store(Register::X),
            0x04 => self.arithmetic(),
            0x05 => self.jump(),
            0x06 => match self.code & 0x18 {
                0x00 => Some(Step::ReturnK),
                0x10 => Some(Step::ReturnA),
                _ => None,
            },
            _ => match self.code & 0xf8 {
                0x00 => Some(Step::CopyToX),
                0x80 => Some(Step::CopyToA),
                _ => None,
            },
        }
    }

    fn load(&self) -> Option<Step> {
        let size = match self.code & 0x18 {
            0x00 => 4,
            0x08 => 2,
            0x10 => 1,
            _ => return None,
        };
        match self.code & 0xe0 {
            0x00 => Some(Step::LoadImmediate(Register::A)),
            0x20 => Some(Step::LoadAbsolute { size }),
            0x40 => Some(Step::LoadIndexed { size }),
            0x60 if self.k < MEMORY => Some(Step::LoadMemory(Register::A)),
            0x80 => Some(Step::LoadLength(Register::A)),
            _ => None,
        }
    }

    fn load_x(&self) -> Option<Step> {
        match self.code & 0xe0 {
            0x00 => Some(Step::LoadImmediate(Register::X)),
            0x60 if self.k < MEMORY => Some(Step::LoadMemory(Register::X)),
            0x80 => Some(Step::LoadLength(Register::X)),
            0xa0 => Some(Step::LoadHeaderLength),
            _ => None,
        }
    }

    fn store(&self, register: Register) -> Option<Step> {
        (self.k < MEMORY).then_some(Step::Store(register))
    }

    fn source(&self) -> Source {
        if self.code & 0x08 == 0 {
            Source::K
        } else {
            Source::X
        }
    }

    fn arithmetic(&self) -> Option<Step> {
        let operation = match self.code & 0xf0 {
            0x00 => Arithmetic::Add,
            0x10 => Arithmetic::Subtract,
            0x20 => Arithmetic::Multiply,
            0x30 => Arithmetic::Divide,
            0x40 => Arithmetic::Or,
            0x50 => Arithmetic::And,
            0x60 => Arithmetic::ShiftLeft,
            0x70 => Arithmetic::ShiftRight,
            0x80 => return Some(Step::Negate),
            0x90 => Arithmetic::Modulo,
            0xa0 => Arithmetic::Xor,
            _ => return None,
        };
        Some(Step::Arithmetic(operation, self.source()))
    }

    fn jump(&self) -> Option<Step> {
        let condition = match self.code & 0xf0 {
            0x00 => return Some(Step::Jump),
            0x10 => Condition::Equal,
            0x20 => Condition::Greater,
            0x30 => Condition::GreaterOrEqual,
            0x40 => Condition::AnyBit,
            _ => return None,
        };
        Some(Step::JumpIf(condition, self.source()))
    }
}
