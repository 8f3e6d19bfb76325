//! What of an ELF file matters to unwinding: where its code is loaded, and where its tables are.

use std::borrow::Cow;

use object::elf;
use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};
use object::{LittleEndian, Object, ObjectSection, ReadRef};

use super::rules::{ARM64, Registers, X86_64};

/// A part of the file that is loaded as code.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    pub file_offset: u64,
    pub file_bytes: u64,
    pub address: u64,
}

/// Where an object's code is.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// The lowest address of code: rows count from here.
    pub base: u64,
    pub segments: Vec<Segment>,
}

impl Layout {
    /// What to subtract from an address of a process to count from the base, for a mapping of the file.
    pub fn bias(&self, mapping_start: u64, mapping_offset: u64) -> Option<u64> {
        let page = |offset: u64| offset & !0xfff;
        let segment = self.segments.iter().find(|segment| {
            let end = segment.file_offset.saturating_add(segment.file_bytes);
            (page(segment.file_offset)..end).contains(&mapping_offset)
        })?;
        let address = segment
            .address
            .wrapping_add(mapping_offset)
            .wrapping_sub(segment.file_offset);
        Some(mapping_start.wrapping_sub(address).wrapping_add(self.base))
    }
}

/// A section of unwind information.
#[derive(Clone, Debug)]
pub(crate) struct Table<'a> {
    pub(crate) address: u64,
    /// Go compresses its own.
    pub(crate) bytes: Cow<'a, [u8]>,
}

/// An object's unwind information.
#[derive(Debug)]
pub(crate) struct Sources<'a> {
    pub(crate) registers: Registers,
    pub(crate) text_address: u64,
    /// Where a program or the loader begins; 0 = nowhere.
    pub(crate) entry: u64,
    pub(crate) eh_frame: Option<Table<'a>>,
    pub(crate) debug_frame: Option<Table<'a>>,
}

type Elf<'a, R> = ElfFile64<'a, LittleEndian, R>;

fn registers<'a, R: ReadRef<'a>>(file: &Elf<'a, R>) -> Option<Registers> {
    match file.elf_header().e_machine(LittleEndian) {
        elf::EM_X86_64 => Some(X86_64),
        elf::EM_AARCH64 => Some(ARM64),
        _ => None,
    }
}

/// Where the code of an ELF file is loaded; `None` where it is no ELF file of a machine that is known.
pub fn layout<'a>(data: impl ReadRef<'a>) -> Option<Layout> {
    let file = Elf::parse(data).ok()?;
    registers(&file)?;
    let segments: Vec<_> = file
        .elf_program_headers()
        .iter()
        .filter(|header| {
            header.p_type(LittleEndian) == elf::PT_LOAD
                && (header.p_flags(LittleEndian) & elf::PF_X).0 != 0
        })
        .map(|header| Segment {
            file_offset: header.p_offset(LittleEndian),
            file_bytes: header.p_filesz(LittleEndian),
            address: header.p_vaddr(LittleEndian),
        })
        .collect();
    let base = segments.iter().map(|segment| segment.address).min()?;
    Some(Layout { base, segments })
}

/// The unwind information of an ELF file.
pub(crate) fn sources<'a>(data: impl ReadRef<'a>) -> Option<Sources<'a>> {
    let file = Elf::parse(data).ok()?;
    let table = |name: &str| {
        let section = file.section_by_name(name)?;
        let bytes = section.uncompressed_data().ok();
        let bytes = bytes.filter(|bytes| !bytes.is_empty())?;
        Some(Table {
            address: section.address(),
            bytes,
        })
    };
    Some(Sources {
        registers: registers(&file)?,
        text_address: file
            .section_by_name(".text")
            .map_or(0, |text| text.address()),
        entry: file.entry(),
        eh_frame: table(".eh_frame").or_else(|| eh_frame_by_header(&file, data)),
        debug_frame: table(".debug_frame"),
    })
}

/// A file without section headers still says where its `.eh_frame` begins.
fn eh_frame_by_header<'a, R: ReadRef<'a>>(file: &Elf<'a, R>, data: R) -> Option<Table<'a>> {
    let headers = file.elf_program_headers();
    let header = headers
        .iter()
        .find(|header| header.p_type(LittleEndian) == elf::PT_GNU_EH_FRAME)?;
    let bytes = header.data(LittleEndian, data).ok()?;
    let bases = gimli::BaseAddresses::default().set_eh_frame_hdr(header.p_vaddr(LittleEndian));
    let parsed = gimli::EhFrameHdr::new(bytes, gimli::LittleEndian)
        .parse(&bases, size_of::<u64>() as u8)
        .ok()?;
    let gimli::Pointer::Direct(address) = parsed.eh_frame_ptr() else {
        return None;
    };
    headers.iter().find_map(|load| {
        let start = load.p_vaddr(LittleEndian);
        let is_loaded = load.p_type(LittleEndian) == elf::PT_LOAD;
        let within = address.checked_sub(start).filter(|_| is_loaded)?;
        let bytes = load.data(LittleEndian, data).ok()?;
        Some(Table {
            address,
            bytes: bytes.get(usize::try_from(within).ok()?..)?.into(),
        })
    })
}
