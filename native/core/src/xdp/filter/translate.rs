//! From classic BPF to eBPF.
//!
//! The translation keeps libpcap's rules: a load beyond the frame's end rejects the frame, so does a division
//! by zero, shifts by more than 31 give zero, registers and memory begin as zero. Jumps go forwards only.
//!
//! A frame is taken as it was on the wire. XDP has it so; behind TC an outer VLAN tag may lie beside the bytes
//! (`vlan_present`). There the frame's beginning with the tag is put together on the stack ([`Window`]).

use super::classic::{self, Arithmetic, Condition, MEMORY, Register, Source, Step};
use super::emit::{Body, FRAME, Instruction, Label, R, jump, op};

/// Which context the function is given.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Hook {
    /// `struct xdp_md`
    Xdp,
    /// `struct __sk_buff`
    Tc,
}

const CONTEXT: R = R(6);
const A: R = R(7);
const X: R = R(8);
/// Behind TC: bytes in the window, zero where no tag lies beside the frame.
const TAGGED: R = R(9);
/// Result of helpers, and scratch.
const RESULT: R = R(0);
const SCRATCH: R = R(4);
/// The place of a load in the frame.
const PLACE: R = R(3);

/// Places on the stack.
const MEMORY_AT: i16 = -64;
const COPY_AT: i16 = -72;
const WINDOW_AT: i16 = -96;

/// The frame's first bytes as on the wire: addresses, the tag, and what a load that begins within the tag
/// may reach behind it.
mod window {
    pub(super) const TAG: u32 = 12;
    pub(super) const TAG_END: u32 = 16;
}

/// Furthest place that the kernel lets a program read directly.
const FURTHEST: u32 = 0xfff0;

/// Offsets in the contexts.
mod context {
    pub(super) const SKB_LENGTH: i16 = 0;
    pub(super) const SKB_VLAN_PRESENT: i16 = 20;
    pub(super) const SKB_VLAN_TCI: i16 = 24;
    pub(super) const SKB_VLAN_PROTOCOL: i16 = 28;
    pub(super) const SKB_DATA: i16 = 76;
    pub(super) const SKB_DATA_END: i16 = 80;
    pub(super) const XDP_DATA: i16 = 0;
    pub(super) const XDP_DATA_END: i16 = 4;
}

/// Numbers of helper functions.
mod helper {
    pub(super) const SKB_LOAD_BYTES: i32 = 26;
    pub(super) const XDP_GET_BUFF_LEN: i32 = 188;
    pub(super) const XDP_LOAD_BYTES: i32 = 189;
}

/// The body of a function; `None` for programs that libpcap does not make, and for those too long to jump in.
pub fn translate(program: &[classic::Instruction], hook: Hook) -> Option<Vec<Instruction>> {
    let mut body = Body::default();
    let places = program.iter().map(|_| body.label()).collect();
    let mut translation = Translation {
        hook,
        places,
        accept: body.label(),
        reject: body.label(),
        body,
    };
    translation.begin(program)?;
    for (at, instruction) in program.iter().enumerate() {
        translation.body.set(translation.places[at]);
        translation.step(at, instruction)?;
    }
    translation.end()
}

struct Translation {
    hook: Hook,
    body: Body,
    /// Of the classic instructions.
    places: Vec<Label>,
    accept: Label,
    reject: Label,
}

impl Translation {
    fn begin(&mut self, program: &[classic::Instruction]) -> Option<()> {
        self.body.alu64(op::MOV, CONTEXT, R(1));
        self.body.alu32_imm(op::MOV, A, 0);
        self.body.alu32_imm(op::MOV, X, 0);
        for cell in 0..MEMORY {
            let loads = |instruction: &classic::Instruction| {
                matches!(instruction.step(), Some(Step::LoadMemory(_))) && instruction.k == cell
            };
            if program.iter().any(loads) {
                self.body.store_zero(FRAME, memory(cell));
            }
        }
        if self.hook == Hook::Tc {
            self.fill_window();
        }
        program.last()?.step().filter(is_return).map(|_| ())
    }

    /// Puts the frame's beginning together where a tag lies beside it.
    fn fill_window(&mut self) {
        let (done, full) = (self.body.label(), self.body.label());
        let body = &mut self.body;
        body.load(TAGGED, CONTEXT, context::SKB_VLAN_PRESENT, 4);
        body.jump_if_imm(jump::EQ, TAGGED, 0, done);
        self.copy(Copy::At(0), WINDOW_AT, window::TAG as u8, self.reject);
        let body = &mut self.body;
        body.load(SCRATCH, CONTEXT, context::SKB_VLAN_PROTOCOL, 4);
        body.store(FRAME, WINDOW_AT + 12, SCRATCH, 2);
        body.load(SCRATCH, CONTEXT, context::SKB_VLAN_TCI, 4);
        body.swap(SCRATCH, 2);
        body.store(FRAME, WINDOW_AT + 14, SCRATCH, 2);
        body.store_zero(FRAME, WINDOW_AT + 16);
        // a frame may have fewer bytes behind the tag, but not less than the protocol's number
        for size in [4_u8, 3, 2] {
            let shorter = self.body.label();
            self.body
                .alu32_imm(op::MOV, TAGGED, window::TAG_END + u32::from(size));
            self.copy(Copy::At(window::TAG), WINDOW_AT + 16, size, shorter);
            self.body.jump(full);
            self.body.set(shorter);
        }
        self.reject_here();
        self.body.set(full);
        self.body.set(done);
    }

    fn end(mut self) -> Option<Vec<Instruction>> {
        let out = self.body.label();
        // the kernel refuses what no path reaches: an expression may accept everything
        for (label, result) in [(self.reject, 0), (self.accept, 1)] {
            if self.body.is_used(label) {
                self.body.set(label);
                self.body.alu32_imm(op::MOV, RESULT, result);
                self.body.jump(out);
            }
        }
        self.body.set(out);
        self.body.exit();
        self.body.finish()
    }

    fn step(&mut self, at: usize, instruction: &classic::Instruction) -> Option<()> {
        let k = instruction.k;
        match instruction.step()? {
            Step::LoadAbsolute { size } => {
                self.load(A, Place::At(k), size);
                self.body.swap(A, size);
            }
            Step::LoadIndexed { size } => {
                self.load(A, Place::BehindX(k), size);
                self.body.swap(A, size);
            }
            Step::LoadHeaderLength => {
                self.load(X, Place::At(k), 1);
                self.body.alu32_imm(op::AND, X, 0xf);
                self.body.alu32_imm(op::SHL, X, 2);
            }
            Step::LoadImmediate(to) => self.body.alu32_imm(op::MOV, register(to), k),
            Step::LoadMemory(to) => self.body.load(register(to), FRAME, memory(k), 4),
            Step::LoadLength(to) => self.load_length(register(to)),
            Step::Store(from) => self.body.store(FRAME, memory(k), register(from), 4),
            Step::Arithmetic(operation, source) => self.arithmetic(operation, source, k),
            Step::Negate => self.body.negate32(A),
            Step::Jump => {
                let to = self.target(at, k)?;
                self.body.jump(to);
            }
            Step::JumpIf(condition, source) => self.branch(at, instruction, condition, source)?,
            Step::ReturnK if k == 0 => self.body.jump(self.reject),
            Step::ReturnK => self.body.jump(self.accept),
            Step::ReturnA => {
                self.body.jump_if32_imm(jump::EQ, A, 0, self.reject);
                self.body.jump(self.accept);
            }
            Step::CopyToX => self.body.alu32(op::MOV, X, A),
            Step::CopyToA => self.body.alu32(op::MOV, A, X),
        }
        Some(())
    }

    fn target(&self, at: usize, distance: u32) -> Option<Label> {
        let place = at + 1 + usize::try_from(distance).ok()?;
        self.places.get(place).copied()
    }

    fn branch(
        &mut self,
        at: usize,
        instruction: &classic::Instruction,
        condition: Condition,
        source: Source,
    ) -> Option<()> {
        let met = self.target(at, instruction.jump_true.into())?;
        let unmet = self.target(at, instruction.jump_false.into())?;
        let code = match condition {
            Condition::Equal => jump::EQ,
            Condition::Greater => jump::GT,
            Condition::GreaterOrEqual => jump::GE,
            Condition::AnyBit => jump::SET,
        };
        match source {
            Source::K => self.body.jump_if32_imm(code, A, instruction.k, met),
            Source::X => self.body.jump_if32(code, A, X, met),
        }
        if instruction.jump_false > 0 {
            self.body.jump(unmet);
        }
        Some(())
    }

    fn arithmetic(&mut self, operation: Arithmetic, source: Source, k: u32) {
        let code = match operation {
            Arithmetic::Add => op::ADD,
            Arithmetic::Subtract => op::SUB,
            Arithmetic::Multiply => op::MUL,
            Arithmetic::And => op::AND,
            Arithmetic::Or => op::OR,
            Arithmetic::Xor => op::XOR,
            Arithmetic::Divide => return self.divide(op::DIV, source, k),
            Arithmetic::Modulo => return self.divide(op::MOD, source, k),
            Arithmetic::ShiftLeft => return self.shift(op::SHL, source, k),
            Arithmetic::ShiftRight => return self.shift(op::SHR, source, k),
        };
        match source {
            Source::K => self.body.alu32_imm(code, A, k),
            Source::X => self.body.alu32(code, A, X),
        }
    }

    fn divide(&mut self, code: u8, source: Source, k: u32) {
        match source {
            Source::K if k == 0 => self.reject_here(),
            Source::K => self.body.alu32_imm(code, A, k),
            Source::X => {
                self.body.jump_if32_imm(jump::EQ, X, 0, self.reject);
                self.body.alu32(code, A, X);
            }
        }
    }

    fn shift(&mut self, code: u8, source: Source, k: u32) {
        match source {
            Source::K if k > 31 => self.body.alu32_imm(op::MOV, A, 0),
            Source::K => self.body.alu32_imm(code, A, k),
            Source::X => {
                let (all, done) = (self.body.label(), self.body.label());
                self.body.jump_if32_imm(jump::GT, X, 31, all);
                self.body.alu32(code, A, X);
                self.body.jump(done);
                self.body.set(all);
                self.body.alu32_imm(op::MOV, A, 0);
                self.body.set(done);
            }
        }
    }

    /// What follows stays reachable for the kernel, which would refuse it otherwise.
    fn reject_here(&mut self) {
        self.body.alu32_imm(op::MOV, RESULT, 0);
        self.body.jump_if_imm(jump::EQ, RESULT, 0, self.reject);
    }

    fn load_length(&mut self, to: R) {
        if self.hook == Hook::Xdp {
            self.body.alu64(op::MOV, R(1), CONTEXT);
            self.body.call(helper::XDP_GET_BUFF_LEN);
            self.body.alu32(op::MOV, to, RESULT);
            return;
        }
        let untagged = self.body.label();
        self.body.load(to, CONTEXT, context::SKB_LENGTH, 4);
        self.body.jump_if_imm(jump::EQ, TAGGED, 0, untagged);
        self.body.alu32_imm(op::ADD, to, 4);
        self.body.set(untagged);
    }

    /// `to` = `size` bytes of the frame as they lie there; the frame is rejected where it is too short.
    fn load(&mut self, to: R, place: Place, size: u8) {
        let (least, end) = match place {
            Place::At(k) | Place::BehindX(k) => (k, k.saturating_add(u32::from(size))),
        };
        if least > FURTHEST {
            return self.reject_here();
        }
        let done = self.body.label();
        let is_before_tag = matches!(place, Place::At(_)) && end <= window::TAG;
        match place {
            Place::At(k) if self.hook == Hook::Xdp || is_before_tag => {
                self.load_at(to, k, size);
            }
            Place::At(k) if k < window::TAG_END => {
                self.load_from_window(to, k, size, done);
                self.load_at(to, k, size);
            }
            Place::At(k) => {
                self.body.alu32_imm(op::MOV, PLACE, k);
                self.step_over_tag();
                self.load_at_place(to, size);
            }
            Place::BehindX(k) => {
                self.find_place(k);
                if self.hook == Hook::Tc {
                    self.load_indexed_from_window(to, k, size, done);
                }
                self.load_at_place(to, size);
            }
        }
        self.body.set(done);
    }

    /// PLACE = X + k, rejected where that is beyond what can be read.
    fn find_place(&mut self, k: u32) {
        self.body.alu64(op::MOV, PLACE, X);
        self.body.alu64_imm(op::ADD, PLACE, k.cast_signed());
        self.body
            .jump_if_imm(jump::GT, PLACE, FURTHEST.cast_signed(), self.reject);
    }

    /// The bytes behind the tag lie four bytes further ahead when the tag lies beside the frame.
    fn step_over_tag(&mut self) {
        let untagged = self.body.label();
        self.body.jump_if_imm(jump::EQ, TAGGED, 0, untagged);
        self.body.alu64_imm(op::SUB, PLACE, 4);
        self.body.set(untagged);
    }

    fn load_from_window(&mut self, to: R, k: u32, size: u8, done: Label) {
        let untagged = self.body.label();
        self.body.jump_if_imm(jump::EQ, TAGGED, 0, untagged);
        let end = k + u32::from(size);
        self.body
            .jump_if_imm(jump::LT, TAGGED, end.cast_signed(), self.reject);
        self.load_from_stack(to, FRAME, WINDOW_AT + k as i16, size);
        self.body.jump(done);
        self.body.set(untagged);
    }

    fn load_indexed_from_window(&mut self, to: R, k: u32, size: u8, done: Label) {
        if k >= window::TAG_END {
            return self.step_over_tag();
        }
        let (untagged, behind) = (self.body.label(), self.body.label());
        let body = &mut self.body;
        body.jump_if_imm(jump::EQ, TAGGED, 0, untagged);
        body.jump_if_imm(jump::GE, PLACE, window::TAG_END.cast_signed(), behind);
        body.alu64(op::MOV, SCRATCH, PLACE);
        body.alu64_imm(op::ADD, SCRATCH, size.into());
        body.jump_if(jump::GT, SCRATCH, TAGGED, self.reject);
        body.alu64(op::MOV, SCRATCH, FRAME);
        body.alu64(op::ADD, SCRATCH, PLACE);
        self.load_from_stack(to, SCRATCH, WINDOW_AT, size);
        let body = &mut self.body;
        body.jump(done);
        body.set(behind);
        body.alu64_imm(op::SUB, PLACE, 4);
        body.set(untagged);
    }

    /// Byte by byte: the kernel allows no misaligned access to the stack.
    fn load_from_stack(&mut self, to: R, base: R, offset: i16, size: u8) {
        self.body.alu32_imm(op::MOV, to, 0);
        for byte in (0..size).rev() {
            self.body.alu32_imm(op::SHL, to, 8);
            self.body.load(RESULT, base, offset + i16::from(byte), 1);
            self.body.alu32(op::OR, to, RESULT);
        }
    }

    /// From a place that is known now.
    fn load_at(&mut self, to: R, k: u32, size: u8) {
        let (slow, done) = (self.body.label(), self.body.label());
        self.load_bounds();
        self.body.alu64(op::MOV, SCRATCH, R(1));
        let end = k + u32::from(size);
        self.body.alu64_imm(op::ADD, SCRATCH, end.cast_signed());
        self.body.jump_if(jump::GT, SCRATCH, R(2), slow);
        if let Ok(offset) = i16::try_from(k) {
            self.body.load(to, R(1), offset, size);
        } else {
            self.body.load(to, SCRATCH, -i16::from(size), size);
        }
        self.body.jump(done);
        self.body.set(slow);
        self.copy_and_load(to, Copy::At(k), size);
        self.body.set(done);
    }

    /// From PLACE, which is at most [`FURTHEST`].
    fn load_at_place(&mut self, to: R, size: u8) {
        let (slow, done) = (self.body.label(), self.body.label());
        self.load_bounds();
        let body = &mut self.body;
        body.alu64(op::ADD, R(1), PLACE);
        body.alu64(op::MOV, SCRATCH, R(1));
        body.alu64_imm(op::ADD, SCRATCH, size.into());
        body.jump_if(jump::GT, SCRATCH, R(2), slow);
        body.load(to, R(1), 0, size);
        body.jump(done);
        body.set(slow);
        self.copy_and_load(to, Copy::AtPlace, size);
        self.body.set(done);
    }

    /// R1 and R2: begin and end of what lies in one piece.
    fn load_bounds(&mut self) {
        let (data, end) = match self.hook {
            Hook::Xdp => (context::XDP_DATA, context::XDP_DATA_END),
            Hook::Tc => (context::SKB_DATA, context::SKB_DATA_END),
        };
        self.body.load(R(1), CONTEXT, data, 4);
        self.body.load(R(2), CONTEXT, end, 4);
    }

    /// Where the frame lies in several pieces.
    fn copy_and_load(&mut self, to: R, from: Copy, size: u8) {
        self.copy(from, COPY_AT, size, self.reject);
        self.body.load(to, FRAME, COPY_AT, size);
    }

    fn copy(&mut self, from: Copy, to: i16, size: u8, failed: Label) {
        let body = &mut self.body;
        match from {
            Copy::At(k) => body.alu32_imm(op::MOV, R(2), k),
            Copy::AtPlace => body.alu32(op::MOV, R(2), PLACE),
        }
        body.alu64(op::MOV, R(1), CONTEXT);
        body.alu64(op::MOV, R(3), FRAME);
        body.alu64_imm(op::ADD, R(3), to.into());
        body.alu32_imm(op::MOV, R(4), size.into());
        body.call(match self.hook {
            Hook::Xdp => helper::XDP_LOAD_BYTES,
            Hook::Tc => helper::SKB_LOAD_BYTES,
        });
        body.jump_if_imm(jump::NE, RESULT, 0, failed);
    }
}

/// What a load reads.
#[derive(Clone, Copy, Debug)]
enum Place {
    At(u32),
    BehindX(u32),
}

/// What a helper copies.
#[derive(Clone, Copy, Debug)]
enum Copy {
    At(u32),
    AtPlace,
}

fn is_return(step: &Step) -> bool {
    matches!(step, Step::ReturnK | Step::ReturnA)
}

fn register(register: Register) -> R {
    match register {
        Register::A => A,
        Register::X => X,
    }
}

fn memory(cell: u32) -> i16 {
    MEMORY_AT + 4 * cell as i16
}
