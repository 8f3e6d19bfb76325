//! ELF files that anybody may have written: read within bounds, or refused with the reason.

use std::borrow::Cow;
use std::cell::Cell;
use std::fs::File;
use std::ops::Range;
use std::path::Path;

use object::elf::{self, FileHeader64, ProgramHeader64};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader, SectionTable};
use object::{CompressedData, CompressionFormat, LittleEndian, ReadCache, ReadRef};

use crate::error::{Error, ErrorKind, Result};

/// What is read of one file at most: more is hostile, or more debug information than arguments' names are worth.
const MAX_READ: u64 = 1 << 30;

#[cfg(target_arch = "x86_64")]
pub(super) const MACHINE: elf::Machine = elf::EM_X86_64;
#[cfg(target_arch = "aarch64")]
pub(super) const MACHINE: elf::Machine = elf::EM_AARCH64;

type Header = FileHeader64<LittleEndian>;

/// Bytes of a file, read when they are asked for, [`MAX_READ`] of them in all. A file that somebody cuts short
/// meanwhile is an error then, where a mapping of it would end the program.
#[derive(Debug)]
pub(super) struct Bytes {
    cache: ReadCache<File>,
    left: Cell<u64>,
}

impl Bytes {
    pub(super) fn new(file: File) -> Self {
        Self {
            cache: ReadCache::new(file),
            left: Cell::new(MAX_READ),
        }
    }
}

impl<'a> ReadRef<'a> for &'a Bytes {
    fn len(self) -> std::result::Result<u64, ()> {
        (&self.cache).len()
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> std::result::Result<&'a [u8], ()> {
        let end = offset.checked_add(size).ok_or(())?;
        let left = self.left.get().checked_sub(size).ok_or(())?;
        if end > self.len()? {
            return Err(());
        }
        self.left.set(left);
        (&self.cache).read_bytes_at(offset, size)
    }

    fn read_bytes_at_until(
        self,
        range: Range<u64>,
        delimiter: u8,
    ) -> std::result::Result<&'a [u8], ()> {
        (&self.cache).read_bytes_at_until(range, delimiter)
    }
}

/// A file of this machine's code.
#[derive(Debug)]
pub(super) struct Elf<'a, R: ReadRef<'a>> {
    pub(super) data: R,
    pub(super) sections: SectionTable<'a, Header, R>,
    segments: &'a [ProgramHeader64<LittleEndian>],
}

impl<'a, R: ReadRef<'a>> Elf<'a, R> {
    /// # Errors
    /// Why it is none.
    pub(super) fn parse(data: R) -> std::result::Result<Self, String> {
        let length = data.len().unwrap_or(0).min(20);
        let ident = data.read_bytes_at(0, length).unwrap_or_default();
        check_ident(ident)?;
        let broken = |error: object::Error| format!("a broken ELF file: {error}");
        let header = Header::parse(data).map_err(broken)?;
        Ok(Self {
            data,
            // a file that lost its sections still runs
            sections: header.sections(LittleEndian, data).unwrap_or_default(),
            segments: header.program_headers(LittleEndian, data).map_err(broken)?,
        })
    }

    /// The contents of a section; `None` where there is none, or none in this file.
    pub(super) fn section(&self, name: &str) -> Option<Section<'a>> {
        let (_, section) = self
            .sections
            .section_by_name(LittleEndian, name.as_bytes())?;
        if section.sh_type(LittleEndian) == elf::SHT_NOBITS {
            return None;
        }
        Some(Section {
            address: section.sh_addr(LittleEndian),
            bytes: section.data(LittleEndian, self.data).ok()?,
        })
    }

    /// The contents of a section, unpacked where they are compressed.
    pub(super) fn uncompressed(&self, name: &str) -> Option<Cow<'a, [u8]>> {
        let (_, header) = self
            .sections
            .section_by_name(LittleEndian, name.as_bytes())?;
        let section = self.section(name)?;
        let Some((compression, offset, length)) =
            header.compression(LittleEndian, self.data).ok()?
        else {
            return Some(Cow::Borrowed(section.bytes));
        };
        let size = compression.ch_size.get(LittleEndian);
        if size > MAX_READ {
            return None;
        }
        let format = match compression.ch_type.get(LittleEndian) {
            elf::ELFCOMPRESS_ZLIB => CompressionFormat::Zlib,
            elf::ELFCOMPRESS_ZSTD => CompressionFormat::Zstandard,
            _ => return None,
        };
        let data = self.data.read_bytes_at(offset, length).ok()?;
        let data = CompressedData {
            format,
            data,
            uncompressed_size: size,
        };
        data.decompress().ok()
    }

    /// Offset in the file of an address; `None` where nothing of the file is loaded there. `executable`: only code.
    pub(super) fn offset(&self, address: u64, executable: bool) -> Option<u64> {
        let length = self.data.len().ok()?;
        self.segments.iter().find_map(|segment| {
            let is_code = (segment.p_flags(LittleEndian) & elf::PF_X).0 != 0;
            if segment.p_type(LittleEndian) != elf::PT_LOAD || (executable && !is_code) {
                return None;
            }
            let within = address.checked_sub(segment.p_vaddr(LittleEndian))?;
            let offset = segment.p_offset(LittleEndian).checked_add(within)?;
            (within < segment.p_filesz(LittleEndian) && offset < length).then_some(offset)
        })
    }

    /// Bytes that are loaded at an address, as many as the file has there up to `size`.
    pub(super) fn loaded(&self, address: u64, size: u64) -> Option<&'a [u8]> {
        let offset = self.offset(address, false)?;
        let room = self.data.len().ok()?.checked_sub(offset)?;
        self.data.read_bytes_at(offset, size.min(room)).ok()
    }
}

/// A section's place and contents.
#[derive(Clone, Copy, Debug)]
pub(super) struct Section<'a> {
    pub(super) address: u64,
    pub(super) bytes: &'a [u8],
}

fn check_ident(ident: &[u8]) -> std::result::Result<(), String> {
    let Some(machine) = ident
        .get(18..20)
        .filter(|_| ident.starts_with(&elf::ELFMAG))
    else {
        return Err(match ident {
            [b'#', b'!', ..] => "a script, not an ELF file: name the interpreter".to_owned(),
            _ => "not an ELF file".to_owned(),
        });
    };
    let is_ours = ident[4] == elf::ELFCLASS64.0
        && ident[5] == elf::ELFDATA2LSB.0
        && machine == MACHINE.0.to_le_bytes();
    if is_ours {
        return Ok(());
    }
    let bits = if ident[4] == elf::ELFCLASS64.0 {
        64
    } else {
        32
    };
    let machine = if ident[5] == elf::ELFDATA2LSB.0 {
        u16::from_le_bytes([machine[0], machine[1]])
    } else {
        u16::from_be_bytes([machine[0], machine[1]])
    };
    Err(format!(
        "a file for another processor: {bits} bits, {}, and this is {}",
        machine_name(machine),
        std::env::consts::ARCH
    ))
}

fn machine_name(machine: u16) -> String {
    match elf::Machine(machine) {
        elf::EM_X86_64 | elf::EM_386 => "x86".to_owned(),
        elf::EM_AARCH64 | elf::EM_ARM => "arm".to_owned(),
        elf::EM_RISCV => "riscv".to_owned(),
        elf::EM_S390 => "s390".to_owned(),
        elf::EM_PPC64 => "powerpc".to_owned(),
        _ => format!("machine {machine}"),
    }
}

/// Opens a file of code; `name` is how the user has it.
pub(super) fn open(path: &Path, name: &str) -> Result<Bytes> {
    let file = File::open(path).map_err(|error| {
        let kind = match error.kind() {
            std::io::ErrorKind::PermissionDenied => ErrorKind::Privilege,
            _ => ErrorKind::Target,
        };
        let hint = match kind {
            ErrorKind::Privilege => {
                "run as root, or with CAP_SYS_PTRACE for files of other users' processes"
            }
            _ => "name a file that the processes to trace run: cat /proc/PID/maps",
        };
        Error::new(kind, format!("cannot read {name}"), error, hint)
    })?;
    // a pipe or a terminal would be waited for
    if !file.metadata().is_ok_and(|about| about.is_file()) {
        return Err(no_code(name, "not a regular file"));
    }
    Ok(Bytes::new(file))
}

/// A file that has no functions.
pub(super) fn no_code(name: &str, cause: impl ToString) -> Error {
    Error::new(
        ErrorKind::Target,
        format!("no functions can be traced in {name}"),
        cause,
        format!("name a program or a library: file {name}"),
    )
}
