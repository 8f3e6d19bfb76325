//! An assembler for the part of eBPF that translated filters need.

/// `struct bpf_insn` of eBPF.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Instruction {
    pub code: u8,
    pub destination: u8,
    pub source: u8,
    pub offset: i16,
    pub immediate: i32,
}

impl Instruction {
    /// Bytes of one.
    pub const SIZE: usize = 8;

    /// As the kernel reads it on a little-endian machine.
    pub fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[0] = self.code;
        bytes[1] = self.source << 4 | self.destination;
        bytes[2..4].copy_from_slice(&self.offset.to_le_bytes());
        bytes[4..].copy_from_slice(&self.immediate.to_le_bytes());
        bytes
    }
}

/// A register: R0 is a function's result, R1 to R5 its arguments, R6 to R9 survive calls, R10 is the frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct R(pub(super) u8);

pub(super) const FRAME: R = R(10);

/// Operations of arithmetic and moves: the upper half of the code.
pub(super) mod op {
    pub(in super::super) const ADD: u8 = 0x00;
    pub(in super::super) const SUB: u8 = 0x10;
    pub(in super::super) const MUL: u8 = 0x20;
    pub(in super::super) const DIV: u8 = 0x30;
    pub(in super::super) const OR: u8 = 0x40;
    pub(in super::super) const AND: u8 = 0x50;
    pub(in super::super) const SHL: u8 = 0x60;
    pub(in super::super) const SHR: u8 = 0x70;
    pub(in super::super) const NEG: u8 = 0x80;
    pub(in super::super) const MOD: u8 = 0x90;
    pub(in super::super) const XOR: u8 = 0xa0;
    pub(in super::super) const MOV: u8 = 0xb0;
}

/// Conditions of jumps, unsigned.
pub(super) mod jump {
    pub(in super::super) const EQ: u8 = 0x10;
    pub(in super::super) const GT: u8 = 0x20;
    pub(in super::super) const GE: u8 = 0x30;
    pub(in super::super) const SET: u8 = 0x40;
    pub(in super::super) const NE: u8 = 0x50;
    pub(in super::super) const LT: u8 = 0xa0;
}

const FROM_REGISTER: u8 = 0x08;
const ALU64: u8 = 0x07;
const ALU32: u8 = 0x04;
const JUMP64: u8 = 0x05;
const JUMP32: u8 = 0x06;
const LOAD: u8 = 0x61;
const STORE: u8 = 0x63;
const STORE_IMMEDIATE: u8 = 0x62;
const TO_BIG_ENDIAN: u8 = 0xdc;
const ALWAYS: u8 = 0x05;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;

/// A place to jump to; only forwards.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Label(usize);

/// A function's body that grows.
#[derive(Debug, Default)]
pub(super) struct Body {
    instructions: Vec<Instruction>,
    /// Where labels are, once they are set.
    places: Vec<Option<usize>>,
    /// (instruction, label)
    jumps: Vec<(usize, Label)>,
}

impl Body {
    pub(super) fn label(&mut self) -> Label {
        self.places.push(None);
        Label(self.places.len() - 1)
    }

    /// The label stands for the next instruction.
    pub(super) fn set(&mut self, label: Label) {
        self.places[label.0] = Some(self.instructions.len());
    }

    /// Whether anything jumps there so far.
    pub(super) fn is_used(&self, label: Label) -> bool {
        self.jumps.iter().any(|&(_, to)| to == label)
    }

    fn push(&mut self, code: u8, destination: R, source: R, offset: i16, immediate: i32) {
        self.instructions.push(Instruction {
            code,
            destination: destination.0,
            source: source.0,
            offset,
            immediate,
        });
    }

    /// 32 bits; the upper half becomes zero.
    pub(super) fn alu32(&mut self, operation: u8, destination: R, source: R) {
        self.push(ALU32 | operation | FROM_REGISTER, destination, source, 0, 0);
    }

    /// 32 bits; the upper half becomes zero.
    pub(super) fn alu32_imm(&mut self, operation: u8, destination: R, immediate: u32) {
        let immediate = immediate.cast_signed();
        self.push(ALU32 | operation, destination, R(0), 0, immediate);
    }

    pub(super) fn alu64(&mut self, operation: u8, destination: R, source: R) {
        self.push(ALU64 | operation | FROM_REGISTER, destination, source, 0, 0);
    }

    pub(super) fn alu64_imm(&mut self, operation: u8, destination: R, immediate: i32) {
        self.push(ALU64 | operation, destination, R(0), 0, immediate);
    }

    pub(super) fn negate32(&mut self, register: R) {
        self.push(ALU32 | op::NEG, register, R(0), 0, 0);
    }

    /// From network order to the machine's.
    pub(super) fn swap(&mut self, register: R, size: u8) {
        if size > 1 {
            self.push(TO_BIG_ENDIAN, register, R(0), 0, i32::from(size) * 8);
        }
    }

    /// `destination = *(size *)(base + offset)`, the rest zero.
    pub(super) fn load(&mut self, destination: R, base: R, offset: i16, size: u8) {
        self.push(LOAD | size_code(size), destination, base, offset, 0);
    }

    pub(super) fn store(&mut self, base: R, offset: i16, source: R, size: u8) {
        self.push(STORE | size_code(size), base, source, offset, 0);
    }

    pub(super) fn store_zero(&mut self, base: R, offset: i16) {
        self.push(STORE_IMMEDIATE, base, R(0), offset, 0);
    }

    pub(super) fn call(&mut self, helper: i32) {
        self.push(CALL, R(0), R(0), 0, helper);
    }

    pub(super) fn exit(&mut self) {
        self.push(EXIT, R(0), R(0), 0, 0);
    }

    pub(super) fn jump(&mut self, to: Label) {
        self.jumps.push((self.instructions.len(), to));
        self.push(ALWAYS, R(0), R(0), 0, 0);
    }

    /// Compares all 64 bits.
    pub(super) fn jump_if(&mut self, condition: u8, left: R, right: R, to: Label) {
        self.jumps.push((self.instructions.len(), to));
        self.push(JUMP64 | condition | FROM_REGISTER, left, right, 0, 0);
    }

    /// Compares all 64 bits with a small number.
    pub(super) fn jump_if_imm(&mut self, condition: u8, left: R, right: i32, to: Label) {
        self.jumps.push((self.instructions.len(), to));
        self.push(JUMP64 | condition, left, R(0), 0, right);
    }

    /// Compares the lower 32 bits.
    pub(super) fn jump_if32(&mut self, condition: u8, left: R, right: R, to: Label) {
        self.jumps.push((self.instructions.len(), to));
        self.push(JUMP32 | condition | FROM_REGISTER, left, right, 0, 0);
    }

    /// Compares the lower 32 bits.
    pub(super) fn jump_if32_imm(&mut self, condition: u8, left: R, right: u32, to: Label) {
        self.jumps.push((self.instructions.len(), to));
        self.push(JUMP32 | condition, left, R(0), 0, right.cast_signed());
    }

    /// The instructions, jumps resolved; `None` where one is too far, or its label was never set.
    pub(super) fn finish(mut self) -> Option<Vec<Instruction>> {
        for (at, label) in self.jumps {
            let distance = self.places[label.0]?.checked_sub(at + 1)?;
            self.instructions[at].offset = i16::try_from(distance).ok()?;
        }
        Some(self.instructions)
    }
}

fn size_code(size: u8) -> u8 {
    match size {
        1 => 0x10,
        2 => 0x08,
        _ => 0x00,
    }
}
