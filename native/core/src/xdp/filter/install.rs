//! Writing a translated expression into an object file, before it is loaded.
//!
//! `bpf/include/xdp_filter.h` makes functions with room: their instructions are replaced in place, so that
//! nothing else in the file moves. What is left of the room is jumped over; the kernel drops it when it loads.

use super::emit::{Body, Instruction, R, jump, op};
use crate::error::{Error, ErrorKind, Result};

/// Instructions that fit: FILTER_ROOM of the header, less the jump over what is left.
pub(super) const ROOM: usize = 8192 - 4;

/// Replaces the body of a function of the object.
pub(super) fn write_body(object: &mut [u8], function: &str, body: &[Instruction]) -> Result<()> {
    let place = find(object, function)
        .filter(|place| place.end <= object.len())
        .ok_or_else(|| no_room(function, "the object has no such function"))?;
    let room = (place.end - place.start) / Instruction::SIZE;
    let filled = fill(body, room)
        .ok_or_else(|| no_room(function, "the expression is longer than the room for it"))?;
    for (index, instruction) in filled.iter().enumerate() {
        let at = place.start + index * Instruction::SIZE;
        object[at..at + Instruction::SIZE].copy_from_slice(&instruction.to_bytes());
    }
    Ok(())
}

/// The body, brought to a length of `room`: its end jumps to the end of the room.
///
/// The kernel refuses instructions that no path reaches. The jump is conditional and always taken (the result
/// is 0 or 1), which the verifier finds out; then it removes what lies between.
fn fill(body: &[Instruction], room: usize) -> Option<Vec<Instruction>> {
    let (_exit, body) = body.split_last()?;
    let left = room.checked_sub(body.len() + 2)?;
    let mut tail = Body::default();
    let end = tail.label();
    tail.jump_if_imm(jump::LT, R(0), 2, end);
    for _ in 0..left {
        tail.alu32_imm(op::MOV, R(0), 0);
    }
    tail.set(end);
    tail.exit();
    Some([body, &tail.finish()?].concat())
}

fn no_room(function: &str, cause: &str) -> Error {
    Error::new(
        ErrorKind::Failed,
        format!("cannot put the filter into {function}"),
        cause,
        "install the package again",
    )
}

/// Where the function's instructions are in an ELF file (64 bits, little-endian).
fn find(object: &[u8], function: &str) -> Option<std::ops::Range<usize>> {
    const SYMBOLS: u32 = 2;
    const SYMBOL_BYTES: usize = 24;
    let sections = Sections::of(object)?;
    let table = (0..sections.count).find(|&index| sections.kind(index) == Some(SYMBOLS))?;
    let names = sections.offset(sections.link(table)?)?;
    let (start, size) = (sections.offset(table)?, sections.size(table)?);
    for at in (start..start.checked_add(size)?).step_by(SYMBOL_BYTES) {
        let name = names.checked_add(number(object, at, 4)?)?;
        if !is_name(object, name, function) {
            continue;
        }
        let section = number(object, at + 6, 2)?;
        let begin = sections
            .offset(section)?
            .checked_add(number(object, at + 8, 8)?)?;
        return Some(begin..begin.checked_add(number(object, at + 16, 8)?)?);
    }
    None
}

fn is_name(object: &[u8], at: usize, name: &str) -> bool {
    object
        .get(at..)
        .and_then(|rest| rest.strip_prefix(name.as_bytes()))
        .is_some_and(|rest| rest.first() == Some(&0))
}

fn number(object: &[u8], at: usize, size: usize) -> Option<usize> {
    let bytes = object.get(at..at.checked_add(size)?)?;
    let value = bytes
        .iter()
        .rev()
        .fold(0_u64, |value, &byte| value << 8 | u64::from(byte));
    usize::try_from(value).ok()
}

/// The table of sections.
struct Sections<'a> {
    object: &'a [u8],
    table: usize,
    entry: usize,
    count: usize,
}

impl<'a> Sections<'a> {
    fn of(object: &'a [u8]) -> Option<Self> {
        object.starts_with(b"\x7fELF\x02\x01").then_some(())?;
        Some(Self {
            object,
            table: number(object, 40, 8)?,
            entry: number(object, 58, 2)?,
            count: number(object, 60, 2)?,
        })
    }

    fn field(&self, section: usize, at: usize, size: usize) -> Option<usize> {
        (section < self.count).then_some(())?;
        let header = self.table.checked_add(section * self.entry)?;
        number(self.object, header.checked_add(at)?, size)
    }

    fn kind(&self, section: usize) -> Option<u32> {
        u32::try_from(self.field(section, 4, 4)?).ok()
    }

    fn offset(&self, section: usize) -> Option<usize> {
        self.field(section, 24, 8)
    }

    fn size(&self, section: usize) -> Option<usize> {
        self.field(section, 32, 8)
    }

    fn link(&self, section: usize) -> Option<usize> {
        self.field(section, 40, 4)
    }
}
