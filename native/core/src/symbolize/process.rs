//! A process's executable mappings at one time.

use std::fs::{self, File};
use std::sync::{Arc, Mutex};

use super::objects::{ObjectFile, Objects};
use super::perf_map::PerfMap;
use super::vdso;

/// More executable mappings than any sane process has; the rest is left out.
const MAX_MAPPINGS: usize = 16_384;

/// What is behind a mapping.
#[derive(Clone, Debug)]
pub enum Backing {
    File(Arc<ObjectFile>),
    /// The kernel's own code in every process.
    Vdso(Arc<ObjectFile>),
    /// Memory without a file: code made at run time.
    Anonymous,
}

/// An executable range of addresses.
#[derive(Clone, Debug)]
pub struct Mapping {
    pub start: u64,
    pub end: u64,
    /// Of `start` in the file.
    pub offset: u64,
    pub backing: Backing,
}

/// The executable mappings of a process, by address.
#[derive(Debug)]
pub struct Image {
    pub pid: u32,
    pub mappings: Vec<Mapping>,
    /// Names of code made at run time; read when first needed.
    pub(super) perf_map: Mutex<PerfMap>,
}

impl Image {
    /// Reads the mappings; `None` when the process is gone, or a kernel thread.
    pub fn read(pid: u32, objects: &mut Objects) -> Option<Self> {
        let text = fs::read(format!("/proc/{pid}/maps")).ok()?;
        let text = String::from_utf8_lossy(&text);
        let regions = text
            .lines()
            .filter_map(Region::parse)
            .filter(|region| region.is_executable);
        Self::of(pid, regions, objects)
    }

    /// Of executable regions, sorted by address; `None` where there are none.
    pub(crate) fn of<'a>(
        pid: u32,
        regions: impl Iterator<Item = Region<'a>>,
        objects: &mut Objects,
    ) -> Option<Self> {
        let mappings: Vec<_> = regions
            .take(MAX_MAPPINGS)
            .map(|region| region.mapping(pid, objects))
            .collect();
        if mappings.is_empty() {
            return None;
        }
        let is_made_at_run_time = |mapping: &Mapping| matches!(mapping.backing, Backing::Anonymous);
        let perf_map = if mappings.iter().any(is_made_at_run_time) {
            PerfMap::new(open_perf_map(pid))
        } else {
            PerfMap::default()
        };
        Some(Self {
            pid,
            mappings,
            perf_map: Mutex::new(perf_map),
        })
    }

    /// The same for a child that runs the same program.
    pub(crate) fn for_child(&self, pid: u32) -> Self {
        Self {
            pid,
            mappings: self.mappings.clone(),
            perf_map: Mutex::new(PerfMap::new(open_perf_map(self.pid))),
        }
    }

    /// The mapping that holds an address.
    pub fn find(&self, address: u64) -> Option<&Mapping> {
        let after = self
            .mappings
            .partition_point(|mapping| mapping.start <= address);
        self.mappings[..after]
            .last()
            .filter(|mapping| address < mapping.end)
    }
}

/// A line of /proc/PID/maps.
#[derive(Debug, PartialEq)]
pub(crate) struct Region<'a> {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) is_executable: bool,
    pub(crate) offset: u64,
    /// Major and minor number, hexadecimal, two digits at least.
    pub(crate) device: &'a str,
    pub(crate) inode: u64,
    pub(crate) path: &'a str,
}

impl<'a> Region<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        // START-END PERMISSIONS OFFSET DEVICE INODE   PATH; the path may hold spaces
        let mut parts = line.splitn(6, ' ');
        let (start, end) = parts.next()?.split_once('-')?;
        let permissions = parts.next()?;
        Some(Self {
            start: u64::from_str_radix(start, 16).ok()?,
            end: u64::from_str_radix(end, 16).ok()?,
            is_executable: permissions.as_bytes().get(2) == Some(&b'x'),
            offset: u64::from_str_radix(parts.next()?, 16).ok()?,
            device: parts.next()?,
            inode: parts.next()?.parse().ok()?,
            path: parts.next().unwrap_or("").trim_start(),
        })
    }

    fn mapping(&self, pid: u32, objects: &mut Objects) -> Mapping {
        let backing = match self.path {
            vdso::VDSO_NAME => objects.vdso().map_or(Backing::Anonymous, Backing::Vdso),
            path if path.starts_with('/') && self.inode != 0 => {
                Backing::File(objects.find(pid, self))
            }
            _ => Backing::Anonymous,
        };
        Mapping {
            start: self.start,
            end: self.end,
            offset: self.offset,
            backing,
        }
    }
}

/// The process writes it by the pid that it has in its own name space, and into its own /tmp.
fn open_perf_map(pid: u32) -> Option<File> {
    let own_pid = own_pid(pid).unwrap_or(pid);
    File::open(format!("/proc/{pid}/root/tmp/perf-{own_pid}.map"))
        .or_else(|_| File::open(format!("/tmp/perf-{pid}.map")))
        .ok()
}

fn own_pid(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("NSpid:"))?;
    line.split_ascii_whitespace().last()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Backing, Image, Objects, Region};

    #[test]
    fn lines_of_maps() {
        let line = "7f00-7f10 r-xp 00002000 08:01 1234       /a path/with (x) (deleted)";
        let region = Region::parse(line).expect("a whole line");
        assert_eq!((region.start, region.end), (0x7f00, 0x7f10));
        assert_eq!(
            (region.offset, region.device, region.inode),
            (0x2000, "08:01", 1234)
        );
        assert!(region.is_executable);
        assert_eq!(region.path, "/a path/with (x) (deleted)");
        let anonymous = Region::parse("0-1000 rwxp 00000000 00:00 0 ").expect("a whole line");
        assert_eq!(anonymous.path, "");
        for bad in ["", "x", "1-2", "1-2 r-xp", "1-2 r-xp 0 0:0 z"] {
            assert_eq!(Region::parse(bad), None);
        }
    }

    #[test]
    fn the_own_process_has_this_function_in_its_own_file() {
        let image = Image::read(std::process::id(), &mut Objects::default()).expect("it runs");
        let here = lines_of_maps as *const () as u64;
        let mapping = image.find(here).expect("it is mapped");
        let Backing::File(object) = &mapping.backing else {
            panic!("not a file: {mapping:?}")
        };
        assert_eq!(
            std::path::Path::new(&object.path),
            std::env::current_exe().expect("this program")
        );
        assert!(image.find(0).is_none());
        assert!(image.find(u64::MAX).is_none());
    }

    #[test]
    fn a_process_that_is_gone_has_no_image() {
        assert!(Image::read(u32::MAX, &mut Objects::default()).is_none());
    }
}
