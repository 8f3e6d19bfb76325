//! Whether somebody else could have changed what is run with the launcher's capabilities.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::installation::Installation;
use crate::problem::Problem;

const WRITABLE_BY_OTHERS: u32 = 0o022;
/// As many as the kernel follows.
const MOST_LINKS: usize = 40;
const STICKY: u32 = 0o1000;

/// Every file that the interpreter may load, and every folder above, has to belong to root or to the
/// launcher's owner and be writable by nobody else.
pub(crate) fn check(installation: &Installation) -> Result<(), Problem> {
    let trust = Trust {
        owner: installation.owner,
    };
    let venv = resolved(&installation.venv)?;
    let mut trees = linked_source_folders(&venv)?;
    trees.extend(standard_libraries(&installation.interpreter(), &venv)?);
    trees.push(venv);
    let mut files = links_and_target(&installation.interpreter());
    files.push(installation.launcher.clone());

    let paths = trees.iter().chain(&files);
    let folders_above: BTreeSet<&Path> = paths.flat_map(|path| path.ancestors().skip(1)).collect();
    folders_above
        .into_iter()
        .try_for_each(|folder| trust.check_path(folder))?;
    files.iter().try_for_each(|file| trust.check_path(file))?;
    trees.iter().try_for_each(|tree| trust.check_tree(tree))
}

#[derive(Clone, Copy)]
struct Trust {
    owner: u32,
}

impl Trust {
    fn check_tree(self, root: &Path) -> Result<(), Problem> {
        let whole = format!("-R CHANGE {}", root.display());
        let mut waiting = vec![root.to_path_buf()];
        while let Some(path) = waiting.pop() {
            let metadata =
                fs::symlink_metadata(&path).map_err(|error| Problem::unreadable(&path, &error))?;
            self.check_metadata(&path, &metadata, &whole)?;
            if metadata.is_dir() {
                waiting.extend(entries(&path)?);
            }
        }
        Ok(())
    }

    fn check_path(self, path: &Path) -> Result<(), Problem> {
        let metadata = fs::metadata(path).map_err(|error| Problem::unreadable(path, &error))?;
        self.check_metadata(path, &metadata, &format!("CHANGE {}", path.display()))
    }

    /// `arguments` are those of the command that mends it, `CHANGE` in the place of what to change.
    fn check_metadata(
        self,
        path: &Path,
        metadata: &Metadata,
        arguments: &str,
    ) -> Result<(), Problem> {
        let shown = path.display();
        if metadata.uid() != 0 && metadata.uid() != self.owner {
            let cause = format!(
                "{shown} belongs to user {}, not to root or the launcher's owner",
                metadata.uid()
            );
            let mended = arguments.replacen("CHANGE", &self.owner.to_string(), 1);
            return Err(Problem::refused(cause, format!("chown {mended}")));
        }
        if writable_by_others(metadata.mode(), metadata.is_dir(), metadata.is_symlink()) {
            let cause = format!("{shown} can be written by others");
            let mended = arguments.replacen("CHANGE", "go-w", 1);
            return Err(Problem::refused(cause, format!("chmod {mended}")));
        }
        Ok(())
    }
}

/// In a folder with the sticky bit, as /tmp, nobody can replace what belongs to another. The mode of a
/// link means nothing.
fn writable_by_others(mode: u32, is_folder: bool, is_link: bool) -> bool {
    let protected = is_link || (is_folder && mode & STICKY != 0);
    mode & WRITABLE_BY_OTHERS != 0 && !protected
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, Problem> {
    let unreadable = |error| Problem::unreadable(folder, &error);
    let listing = fs::read_dir(folder).map_err(unreadable)?;
    listing
        .map(|entry| entry.map(|entry| entry.path()).map_err(unreadable))
        .collect()
}

fn resolved(path: &Path) -> Result<PathBuf, Problem> {
    fs::canonicalize(path).map_err(|error| Problem::unreadable(path, &error))
}

/// A link, what it points to, what that points to, and so on.
fn links_and_target(path: &Path) -> Vec<PathBuf> {
    let next = |path: &PathBuf| Some(path.parent()?.join(fs::read_link(path).ok()?));
    std::iter::successors(Some(path.to_path_buf()), next)
        .take(MOST_LINKS)
        .collect()
}

/// Folders outside the environment that its `.pth` files add to Python's search path.
fn linked_source_folders(venv: &Path) -> Result<Vec<PathBuf>, Problem> {
    let mut folders = Vec::new();
    for version in entries(&venv.join("lib"))? {
        for file in entries(&version.join("site-packages"))? {
            if file.extension().is_some_and(|suffix| suffix == "pth") {
                let text = fs::read_to_string(&file)
                    .map_err(|error| Problem::unreadable(&file, &error))?;
                for folder in folders_named_in(&text) {
                    folders.push(resolved(Path::new(folder))?);
                }
            }
        }
    }
    Ok(folders)
}

/// `PREFIX/lib/python3.11` of the interpreter `PREFIX/bin/python3.11`, for the versions that the environment has.
fn standard_libraries(interpreter: &Path, venv: &Path) -> Result<Vec<PathBuf>, Problem> {
    let interpreter = resolved(interpreter)?;
    let Some(prefix) = interpreter.parent().and_then(Path::parent) else {
        return Ok(Vec::new());
    };
    let versions = entries(&venv.join("lib"))?;
    let names = versions.iter().filter_map(|version| version.file_name());
    let libraries = names.flat_map(|name| ["lib", "lib64"].map(|lib| prefix.join(lib).join(name)));
    libraries
        .filter(|library| library.exists())
        .map(|library| resolved(&library))
        .collect()
}

/// Lines with code (`import …`) and comments name no folder; neither do relative paths, which stay
/// inside the environment.
fn folders_named_in(pth: &str) -> impl Iterator<Item = &str> {
    pth.lines()
        .map(str::trim)
        .filter(|line| line.starts_with('/') && Path::new(line).is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn trust_in_me() -> Trust {
        // SAFETY: the call has no arguments and cannot fail.
        let owner = unsafe { libc::geteuid() };
        Trust { owner }
    }

    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("launcher-{name}-{}", std::process::id()));
        let made = fs::create_dir_all(path.join("inner"))
            .and_then(|()| fs::write(path.join("inner/file"), "x"));
        assert!(made.is_ok(), "{made:?}");
        path
    }

    #[test]
    fn group_and_others_may_not_write() {
        assert!(writable_by_others(0o100_664, false, false));
        assert!(writable_by_others(0o100_646, false, false));
        assert!(!writable_by_others(0o100_755, false, false));
    }

    #[test]
    fn sticky_folders_and_links_do_not_count() {
        assert!(!writable_by_others(0o041_777, true, false));
        assert!(!writable_by_others(0o120_777, false, true));
        assert!(writable_by_others(0o101_777, false, false));
    }

    #[test]
    fn one_writable_file_deep_inside_is_enough_to_refuse() {
        let root = folder("writable");
        let changed = fs::set_permissions(root.join("inner"), fs::Permissions::from_mode(0o755))
            .and_then(|()| fs::set_permissions(&root, fs::Permissions::from_mode(0o755)))
            .and_then(|()| {
                fs::set_permissions(root.join("inner/file"), fs::Permissions::from_mode(0o644))
            });
        assert!(changed.is_ok());
        assert_eq!(trust_in_me().check_tree(&root), Ok(()));
        assert!(
            fs::set_permissions(root.join("inner/file"), fs::Permissions::from_mode(0o666)).is_ok()
        );
        let refusal = format!("{:?}", trust_in_me().check_tree(&root));
        assert!(
            refusal.contains("inner/file can be written by others"),
            "{refusal}"
        );
        assert!(fs::remove_dir_all(root).is_ok());
    }

    #[test]
    fn search_path_files_name_folders_by_absolute_lines_only() {
        let text = "# comment\nimport os\n/tmp\n  /usr  \nrelative\n/no/such/folder\n";
        assert_eq!(folders_named_in(text).collect::<Vec<_>>(), ["/tmp", "/usr"]);
    }
}
