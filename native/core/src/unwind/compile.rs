//! `.eh_frame` and `.debug_frame` → rows, sorted, without repetition.

use std::collections::HashMap;

use gimli::{
    BaseAddresses, CieOrFde, CommonInformationEntry, DebugFrame, EhFrame, FrameDescriptionEntry,
    LittleEndian, UnwindContext, UnwindSection,
};

use object::ReadRef;

use super::elf::{Sources, Table, sources};
use super::rules::{Context, Reader, Registers, Step};

/// Functions are padded to this: what lies between two of them is no gap.
const PADDING: u64 = 15;
/// Bytes of a first function that is described nowhere.
const MAX_FIRST_FUNCTION: u64 = 256;
/// Rows of one object that are kept; `libLLVM` has 0.8 million.
const MAX_ROWS: usize = 8 << 20;

/// From `pc` on (counted from the object's base), until the next row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    pub pc: u32,
    pub step: Step,
}

/// An address range of one function, and its rows.
struct Function {
    start: u64,
    end: u64,
    rows: Vec<(u64, Step)>,
}

/// The rows of an ELF file whose code begins at `base`; `None` where it has no unwind information.
pub fn compile<'a>(data: impl ReadRef<'a>, base: u64) -> Option<Vec<Row>> {
    let sources = sources(data)?;
    let mut functions = Vec::new();
    if let Some(table) = &sources.eh_frame {
        let mut section = EhFrame::new(&table.bytes, LittleEndian);
        section.set_address_size(size_of::<u64>() as u8);
        read(&section, &sources, table, &mut functions);
    }
    if let Some(table) = &sources.debug_frame {
        let mut section = DebugFrame::new(&table.bytes, LittleEndian);
        section.set_address_size(size_of::<u64>() as u8);
        read(&section, &sources, table, &mut functions);
    }
    functions.extend(first_function(&functions, sources.entry));
    let rows = join(functions, base);
    (!rows.is_empty()).then_some(rows)
}

/// The loader's first function is written by hand and described nowhere: nobody has called it.
fn first_function(functions: &[Function], entry: u64) -> Option<Function> {
    let covers = |function: &Function| (function.start..function.end).contains(&entry);
    if entry == 0 || functions.iter().any(covers) {
        return None;
    }
    let next = functions
        .iter()
        .filter_map(|function| (function.start > entry).then_some(function.start))
        .min();
    let end = entry + MAX_FIRST_FUNCTION;
    Some(Function {
        start: entry,
        end: next.map_or(end, |next| next.min(end)),
        rows: vec![(entry, Step::Stop)],
    })
}

/// All functions of a section; what cannot be read is left out.
fn read<'a, S: UnwindSection<Reader<'a>>>(
    section: &S,
    sources: &Sources<'_>,
    table: &Table<'_>,
    functions: &mut Vec<Function>,
) where
    S::Offset: std::hash::Hash + Eq + Copy,
{
    let bases = BaseAddresses::default()
        .set_eh_frame(table.address)
        .set_text(sources.text_address);
    let mut common: HashMap<S::Offset, CommonInformationEntry<Reader<'a>>> = HashMap::new();
    let mut context = UnwindContext::new();
    let mut entries = section.entries(&bases);
    let mut rows = 0;
    while let Ok(Some(entry)) = entries.next() {
        let CieOrFde::Fde(partial) = entry else {
            continue;
        };
        let parsed = partial.parse(|section, bases, offset| match common.get(&offset) {
            Some(known) => Ok(known.clone()),
            None => {
                let entry = section.cie_from_offset(bases, offset)?;
                common.insert(offset, entry.clone());
                Ok(entry)
            }
        });
        let Ok(described) = parsed else { continue };
        let function = rows_of(section, &bases, &described, sources.registers, &mut context);
        functions.extend(function.inspect(|function| rows += function.rows.len()));
        if rows > MAX_ROWS {
            return;
        }
    }
}

fn rows_of<'a, S: UnwindSection<Reader<'a>>>(
    section: &S,
    bases: &BaseAddresses,
    described: &FrameDescriptionEntry<Reader<'a>>,
    registers: Registers,
    context: &mut UnwindContext<usize>,
) -> Option<Function> {
    let (start, end) = (described.initial_address(), described.end_address());
    // functions that the linker has dropped are left at address 0
    if start == 0 || end <= start {
        return None;
    }
    if described.is_signal_trampoline() {
        let rows = vec![(start, Step::Signal)];
        return Some(Function { start, end, rows });
    }
    let reader = Context {
        section,
        encoding: described.cie().encoding(),
        registers,
    };
    let mut rows = Vec::new();
    let mut table = described.rows(section, bases, context).ok()?;
    loop {
        match table.next_row() {
            Ok(Some(row)) => rows.push((row.start_address(), reader.step(row))),
            Ok(None) => break,
            // the rows before are right
            Err(_) => {
                rows.push((rows.last().map_or(start, |(pc, _)| pc + 1), Step::Unknown));
                break;
            }
        }
    }
    Some(Function { start, end, rows })
}

fn join(mut functions: Vec<Function>, base: u64) -> Vec<Row> {
    functions.sort_by_key(|function| function.start);
    let mut rows = Vec::with_capacity(functions.iter().map(|function| function.rows.len()).sum());
    let mut end = 0;
    for function in functions {
        if function.start < end {
            // described twice: .debug_frame repeats what .eh_frame says
            continue;
        }
        if end != 0 && function.start - end > PADDING {
            push(&mut rows, base, end, Step::None);
        }
        for (pc, step) in function.rows {
            if (function.start..function.end).contains(&pc) {
                push(&mut rows, base, pc, step);
            }
        }
        end = function.end;
    }
    push(&mut rows, base, end, Step::None);
    rows
}

fn push(rows: &mut Vec<Row>, base: u64, address: u64, step: Step) {
    let Some(pc) = address
        .checked_sub(base)
        .and_then(|pc| u32::try_from(pc).ok())
    else {
        return;
    };
    match rows.last_mut() {
        Some(last) if last.step == step => {}
        Some(last) if last.pc == pc => last.step = step,
        Some(last) if last.pc > pc => {}
        _ => rows.push(Row { pc, step }),
    }
}

/// The step at `pc` (counted from the base), as the kernel's part finds it.
pub fn find(rows: &[Row], pc: u32) -> Step {
    let after = rows.partition_point(|row| row.pc <= pc);
    rows[..after].last().map_or(Step::None, |row| row.step)
}

#[cfg(test)]
mod tests {
    use super::{Function, Row, Step, compile, find, join};

    fn function(start: u64, end: u64, step: Step) -> Function {
        Function {
            start,
            end,
            rows: vec![(start, step)],
        }
    }

    #[test]
    fn gaps_are_told_and_padding_is_none() {
        let rows = join(
            vec![
                function(0x1100, 0x1110, Step::Signal),
                function(0x1000, 0x1010, Step::Stop),
                function(0x1018, 0x1020, Step::Stop),
            ],
            0x1000,
        );
        let row = |pc, step| Row { pc, step };
        assert_eq!(
            rows,
            [
                row(0, Step::Stop),
                row(0x20, Step::None),
                row(0x100, Step::Signal),
                row(0x110, Step::None)
            ]
        );
        assert_eq!(find(&rows, 0x17), Step::Stop);
        assert_eq!(find(&rows, 0xff), Step::None);
        assert_eq!(find(&[], 0), Step::None);
    }

    #[test]
    fn what_is_no_elf_file_has_no_rows() {
        for data in [&b""[..], b"\x7fELF", b"#!/bin/sh\n"] {
            assert!(compile(data, 0).is_none());
        }
    }

    #[test]
    fn the_own_program_has_rows() {
        let data = std::fs::read("/proc/self/exe").expect("this program");
        let layout = super::super::elf::layout(&data[..]).expect("an ELF file");
        let rows = compile(&data[..], layout.base).expect("with unwind information");
        assert!(rows.len() > 1000);
        assert!(rows.windows(2).all(|pair| pair[0].pc < pair[1].pc));
    }
}
