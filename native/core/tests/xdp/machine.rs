//! A machine for translated filters, for tests without a kernel: it knows the instructions and helpers that the
//! translation uses, and stops at any access that the kernel would not allow.

use universal_tracer_core::xdp::filter::{Hook, Instruction};

const CONTEXT: u64 = 1 << 40;
const PACKET: u64 = 2 << 40;
const STACK: u64 = 3 << 40;
const STACK_BYTES: usize = 512;

/// A frame as a hook sees it.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// Without the tag beside it.
    pub(crate) bytes: Vec<u8>,
    /// How many bytes lie in one piece.
    pub(crate) linear: usize,
    /// TC: protocol and control information of a tag that lies beside the bytes.
    pub(crate) tag: Option<(u16, u16)>,
}

pub(crate) struct Machine<'a> {
    hook: Hook,
    frame: &'a Frame,
    registers: [u64; 11],
    stack: [u8; STACK_BYTES],
}

impl<'a> Machine<'a> {
    pub(crate) fn new(hook: Hook, frame: &'a Frame) -> Self {
        let mut registers = [0; 11];
        registers[1] = CONTEXT;
        registers[10] = STACK + STACK_BYTES as u64;
        Self {
            hook,
            frame,
            registers,
            stack: [0xaa; STACK_BYTES],
        }
    }

    /// Runs to the exit; returns the result.
    pub(crate) fn run(mut self, program: &[Instruction]) -> u64 {
        let mut at = 0;
        loop {
            let instruction = program[at];
            at += 1;
            match instruction.code & 7 {
                1 => self.load(instruction),
                2 | 3 => self.store(instruction),
                4 | 7 => self.arithmetic(instruction),
                _ if instruction.code == 0x95 => return self.registers[0],
                _ if instruction.code == 0x85 => self.call(instruction.immediate),
                5 | 6 => {
                    if self.jumps(instruction) {
                        at = at.checked_add_signed(instruction.offset.into()).unwrap();
                    }
                }
                _ => panic!("no such instruction: {instruction:?}"),
            }
        }
    }

    fn operand(&self, instruction: Instruction) -> u64 {
        if instruction.code & 8 == 0 {
            i64::from(instruction.immediate).cast_unsigned()
        } else {
            self.registers[usize::from(instruction.source)]
        }
    }

    fn arithmetic(&mut self, instruction: Instruction) {
        let place = usize::from(instruction.destination);
        let (left, right) = (self.registers[place], self.operand(instruction));
        if instruction.code == 0xdc {
            self.registers[place] = match instruction.immediate {
                16 => u64::from((left as u16).swap_bytes()),
                _ => u64::from((left as u32).swap_bytes()),
            };
            return;
        }
        let is_narrow = instruction.code & 7 == 4;
        let (left, right) = if is_narrow {
            (left & 0xffff_ffff, right & 0xffff_ffff)
        } else {
            (left, right)
        };
        let result = match instruction.code & 0xf0 {
            0x00 => left.wrapping_add(right),
            0x10 => left.wrapping_sub(right),
            0x20 => left.wrapping_mul(right),
            0x30 => left / right,
            0x40 => left | right,
            0x50 => left & right,
            0x60 => left << right,
            0x70 => left >> right,
            0x80 => left.wrapping_neg(),
            0x90 => left % right,
            0xa0 => left ^ right,
            0xb0 => right,
            _ => panic!("no such arithmetic: {instruction:?}"),
        };
        self.registers[place] = if is_narrow {
            result & 0xffff_ffff
        } else {
            result
        };
    }

    fn jumps(&self, instruction: Instruction) -> bool {
        let mut left = self.registers[usize::from(instruction.destination)];
        let mut right = self.operand(instruction);
        if instruction.code & 7 == 6 {
            (left, right) = (left & 0xffff_ffff, right & 0xffff_ffff);
        }
        match instruction.code & 0xf0 {
            0x00 => true,
            0x10 => left == right,
            0x20 => left > right,
            0x30 => left >= right,
            0x40 => left & right != 0,
            0x50 => left != right,
            0xa0 => left < right,
            _ => panic!("no such jump: {instruction:?}"),
        }
    }

    fn size(instruction: Instruction) -> usize {
        match instruction.code & 0x18 {
            0x00 => 4,
            0x08 => 2,
            _ => 1,
        }
    }

    fn load(&mut self, instruction: Instruction) {
        let base = self.registers[usize::from(instruction.source)];
        let address = base.wrapping_add_signed(instruction.offset.into());
        let size = Self::size(instruction);
        self.registers[usize::from(instruction.destination)] = if base == CONTEXT {
            self.context(address - CONTEXT)
        } else if address >= STACK {
            number(&self.stack[(address - STACK) as usize..][..size])
        } else {
            let at = (address - PACKET) as usize;
            assert!(
                at + size <= self.frame.linear,
                "a load beyond the packet's end"
            );
            number(&self.frame.bytes[at..at + size])
        };
    }

    fn context(&self, offset: u64) -> u64 {
        let (begin, end) = (PACKET, PACKET + self.frame.linear as u64);
        match (self.hook, offset) {
            (Hook::Xdp, 0) | (Hook::Tc, 76) => begin,
            (Hook::Xdp, 4) | (Hook::Tc, 80) => end,
            (Hook::Tc, 0) => self.frame.bytes.len() as u64,
            (Hook::Tc, 20) => self.frame.tag.is_some().into(),
            (Hook::Tc, 24) => self.frame.tag.map_or(0, |(_, control)| control.into()),
            (Hook::Tc, 28) => self
                .frame
                .tag
                .map_or(0, |(protocol, _)| protocol.to_be().into()),
            _ => panic!("no such member of the context: {offset}"),
        }
    }

    fn store(&mut self, instruction: Instruction) {
        let base = self.registers[usize::from(instruction.destination)];
        let address = base.wrapping_add_signed(instruction.offset.into());
        let value = match instruction.code & 7 {
            2 => i64::from(instruction.immediate).cast_unsigned(),
            _ => self.registers[usize::from(instruction.source)],
        };
        let size = Self::size(instruction);
        let at = (address - STACK) as usize;
        self.stack[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
    }

    fn call(&mut self, helper: i32) {
        let [_, _, offset, to, size, ..] = self.registers;
        self.registers[0] = match (self.hook, helper) {
            (Hook::Xdp, 188) => self.frame.bytes.len() as u64,
            (Hook::Xdp, 189) | (Hook::Tc, 26) => {
                let (offset, size, to) = (offset as usize, size as usize, (to - STACK) as usize);
                match self.frame.bytes.get(offset..offset + size) {
                    Some(bytes) => {
                        self.stack[to..to + size].copy_from_slice(bytes);
                        0
                    }
                    None => u64::MAX,
                }
            }
            _ => panic!("no such helper: {helper}"),
        };
        // what the kernel leaves in them is nobody's business
        self.registers[1..=5].fill(0xdead);
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |value, &byte| value << 8 | u64::from(byte))
}
