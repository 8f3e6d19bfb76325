//! What a file left out of itself: symbols in a file of their own, or compressed inside of it.

use std::io::Read;
use std::path::Path;

use object::ReadRef;

use super::elf::{self, Bytes, Elf};
use super::scope::ScopeFile;

/// A compressed symbol table, unpacked; the largest of Fedora's have some MiB.
const MAX_UNPACKED: u64 = 128 << 20;
/// What unpacking itself may take, in KiB.
const MAX_DICTIONARY_KIB: u32 = 64 << 10;
const DEBUG_DIRECTORY: &str = "usr/lib/debug";

/// The symbols that are compressed inside of a file (`.gnu_debugdata`), as an ELF file.
pub(super) fn unpacked<'a, R: ReadRef<'a>>(elf: &Elf<'a, R>) -> Option<Vec<u8>> {
    let packed = elf.section(".gnu_debugdata")?.bytes;
    let reader = lzma_rust2::XzReader::new_mem_limit(packed, true, MAX_DICTIONARY_KIB);
    let mut bytes = Vec::new();
    let read = reader.take(MAX_UNPACKED).read_to_end(&mut bytes);
    read.ok().map(|_| bytes)
}

/// The file with the debug information of another one, which belongs to it by build id or by checksum.
pub(super) fn separate<'a, R: ReadRef<'a>>(elf: &Elf<'a, R>, file: &ScopeFile) -> Option<Bytes> {
    let build_id = build_id(elf);
    let by_build_id = build_id.iter().flat_map(|id| {
        let name: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        let (directory, rest) = name.split_at(2);
        let name = format!("{DEBUG_DIRECTORY}/.build-id/{directory}/{rest}.debug");
        [file.root.join(&name), Path::new("/").join(name)]
    });
    for path in by_build_id {
        if let Some(found) = opened(&path, |debug, _| self::build_id(debug) == build_id) {
            return Some(found);
        }
    }
    let (name, checksum) = debug_link(elf)?;
    let place = Path::new(&file.name).parent()?.strip_prefix("/").ok()?;
    [
        file.root.join(place).join(&name),
        file.root.join(place).join(".debug").join(&name),
        file.root.join(DEBUG_DIRECTORY).join(place).join(&name),
    ]
    .iter()
    .find_map(|path| {
        opened(path, |debug, bytes| {
            match (self::build_id(debug), build_id) {
                (Some(theirs), Some(ours)) => theirs == ours,
                _ => checksum_of(bytes) == Some(checksum),
            }
        })
    })
}

fn opened(path: &Path, belongs: impl FnOnce(&Elf<'_, &Bytes>, &Bytes) -> bool) -> Option<Bytes> {
    let bytes = elf::open(path, "").ok()?;
    let is_right = Elf::parse(&bytes).is_ok_and(|debug| belongs(&debug, &bytes));
    is_right.then_some(bytes)
}

/// What the linker wrote into a file and its debug information to tell that they belong together.
fn build_id<'a, R: ReadRef<'a>>(elf: &Elf<'a, R>) -> Option<&'a [u8]> {
    // name's length, description's length, type, "GNU"
    let note = elf.section(".note.gnu.build-id")?.bytes;
    let length = u32::from_le_bytes(*note.get(4..)?.first_chunk()?) as usize;
    let id = note.get(16..)?.get(..length)?;
    (note.get(12..16)? == b"GNU\0" && id.len() > 2).then_some(id)
}

/// The base name of the file with the debug information, and its CRC-32.
fn debug_link<'a, R: ReadRef<'a>>(elf: &Elf<'a, R>) -> Option<(String, u32)> {
    let link = elf.section(".gnu_debuglink")?.bytes;
    let end = link.iter().position(|&byte| byte == 0)?;
    let name = std::str::from_utf8(&link[..end]).ok()?;
    let checksum = link.get((end / 4 + 1) * 4..)?.first_chunk()?;
    let is_base_name = !name.is_empty() && !name.contains('/') && name != "..";
    is_base_name.then(|| (name.to_owned(), u32::from_le_bytes(*checksum)))
}

fn checksum_of(bytes: &Bytes) -> Option<u32> {
    let length = bytes.len().ok()?;
    bytes.read_bytes_at(0, length).ok().map(crc32fast::hash)
}
