//! Programs and libraries by the names that people use, and what a program needs.

use std::path::{Path, PathBuf};

use object::LittleEndian;
use object::elf;
use object::read::elf::{Dyn, SectionHeader};

use super::elf::{Elf, open};

const LIBRARY_DIRECTORIES: &[&str] = &[
    "/lib",
    "/usr/lib",
    "/lib64",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/local/lib64",
    #[cfg(target_arch = "x86_64")]
    "/lib/x86_64-linux-gnu",
    #[cfg(target_arch = "x86_64")]
    "/usr/lib/x86_64-linux-gnu",
    #[cfg(target_arch = "aarch64")]
    "/lib/aarch64-linux-gnu",
    #[cfg(target_arch = "aarch64")]
    "/usr/lib/aarch64-linux-gnu",
];
/// Libraries of one program.
const MAX_LIBRARIES: usize = 512;

/// Whether a file with this base name is what somebody calls `name`: `libc.so.6` is `libc.so.6`, `libc` and `c`.
pub(super) fn is_called(base_name: &str, name: &str) -> bool {
    let stem = base_name.split_once(".so").map(|(stem, _)| stem);
    let stem = stem.map(|stem| stem.split_once('-').map_or(stem, |(stem, _)| stem));
    base_name == name
        || stem.is_some_and(|stem| stem == name || stem.strip_prefix("lib") == Some(name))
}

/// What a new process would find by this name: a program of the path, or a library.
pub(super) fn installed(name: &str) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let program = std::env::split_paths(&path)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(name))
        .find(|file| file.is_file());
    let libraries = LIBRARY_DIRECTORIES
        .iter()
        .filter_map(|directory| std::fs::read_dir(directory).ok())
        .flat_map(|entries| entries.flatten().map(|entry| entry.path()))
        .filter(|path| {
            let base_name = path.file_name().and_then(|name| name.to_str());
            base_name
                .is_some_and(|base_name| base_name.contains(".so") && is_called(base_name, name))
                && open(path, "").is_ok_and(|bytes| Elf::parse(&bytes).is_ok())
        });
    program.into_iter().chain(libraries).collect()
}

/// A program and the libraries that it needs, directly or not, as far as they lie in the usual places.
pub(super) fn with_libraries(program: &Path) -> Vec<PathBuf> {
    let mut found = vec![program.to_owned()];
    let mut at = 0;
    while at < found.len() && found.len() < MAX_LIBRARIES {
        for name in needed(&found[at]).unwrap_or_default() {
            let library = LIBRARY_DIRECTORIES
                .iter()
                .map(|directory| Path::new(directory).join(&name))
                .find(|path| path.is_file());
            if let Some(library) = library.filter(|library| !found.contains(library)) {
                found.push(library);
            }
        }
        at += 1;
    }
    found
}

/// The names of the libraries that a file asks for.
fn needed(path: &Path) -> Option<Vec<String>> {
    let endian = LittleEndian;
    let bytes = open(path, "").ok()?;
    let elf = Elf::parse(&bytes).ok()?;
    let section = elf
        .sections
        .iter()
        .find(|section| section.sh_type(endian) == elf::SHT_DYNAMIC)?;
    let (entries, strings) = section.dynamic(endian, elf.data).ok()??;
    let strings = elf.sections.strings(endian, elf.data, strings).ok()?;
    let names = entries
        .iter()
        .filter(|entry| entry.tag(endian) == elf::DT_NEEDED);
    let names = names.filter_map(|entry| {
        let name = strings.get(entry.val32(endian)?).ok()?;
        Some(String::from_utf8_lossy(name).into_owned())
    });
    Some(names.take(MAX_LIBRARIES).collect())
}

#[cfg(test)]
mod tests {
    use super::{installed, is_called, with_libraries};

    #[test]
    fn names_of_libraries() {
        for name in ["libc.so.6", "libc", "c"] {
            assert!(is_called("libc.so.6", name), "{name}");
        }
        assert!(is_called("libc-2.31.so", "libc"));
        assert!(is_called("nginx", "nginx"));
        assert!(!is_called("libcrypto.so.3", "libc"));
        assert!(!is_called("nginx", "ngin"));
    }

    #[test]
    fn this_program_needs_the_c_library() {
        let program = std::env::current_exe().expect("this program");
        let found = with_libraries(&program);
        assert_eq!(found[0], program);
        assert!(
            found.iter().any(|path| path.ends_with("libc.so.6")),
            "{found:?}"
        );
    }

    #[test]
    fn installed_programs_and_libraries() {
        assert!(installed("sh").iter().any(|path| path.ends_with("sh")));
        assert!(
            installed("libc")
                .iter()
                .any(|path| path.ends_with("libc.so.6"))
        );
        assert!(installed("nobody-has-this").is_empty());
    }
}
