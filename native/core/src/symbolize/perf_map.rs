//! `/tmp/perf-PID.map`: names of code that a process made at run time, as the process itself wrote them.
//!
//! Lines are `ADDRESS SIZE NAME` in hexadecimal, with or without `0x`; a later line wins over an earlier one. The
//! file grows while the process runs: what is new is read when a name is missing.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Bytes of a map that are read at most.
const MAX_BYTES: u64 = 256 << 20;
const READ_AT_ONCE: usize = 1 << 20;

/// The names known so far.
#[derive(Debug, Default)]
pub(super) struct PerfMap {
    file: Option<File>,
    read_to: u64,
    /// start → (end, name)
    entries: BTreeMap<u64, (u64, String)>,
}

impl PerfMap {
    pub(super) fn new(file: Option<File>) -> Self {
        Self {
            file,
            ..Self::default()
        }
    }

    /// The name of the code at `address`.
    pub(super) fn find(&mut self, address: u64) -> Option<&str> {
        if self.at(address).is_none() {
            self.read_more();
        }
        self.at(address)
    }

    fn at(&self, address: u64) -> Option<&str> {
        let (_, (end, name)) = self.entries.range(..=address).next_back()?;
        (address < *end).then_some(name)
    }

    fn read_more(&mut self) {
        while let Some(text) = self.next_lines() {
            for line in String::from_utf8_lossy(&text).lines() {
                if let Some((start, end, name)) = parse(line) {
                    self.insert(start, end, name);
                }
            }
        }
    }

    /// Whole lines that were not read before; a last line that is not whole yet waits.
    fn next_lines(&mut self) -> Option<Vec<u8>> {
        let file = self.file.as_ref().filter(|_| self.read_to < MAX_BYTES)?;
        let mut text = vec![0; READ_AT_ONCE];
        let bytes = file.read_at(&mut text, self.read_to).ok()?;
        text.truncate(bytes);
        let whole = text.iter().rposition(|&byte| byte == b'\n')? + 1;
        text.truncate(whole);
        self.read_to += whole as u64;
        Some(text)
    }

    /// What was there before is gone: memory of dropped code is used again.
    fn insert(&mut self, start: u64, end: u64, name: &str) {
        let covered: Vec<u64> = self
            .entries
            .range(start..end)
            .map(|(&key, _)| key)
            .collect();
        for key in covered {
            self.entries.remove(&key);
        }
        if let Some((_, (before_end, _))) = self.entries.range_mut(..start).next_back() {
            *before_end = (*before_end).min(start);
        }
        self.entries.insert(start, (end, name.to_owned()));
    }
}

fn parse(line: &str) -> Option<(u64, u64, &str)> {
    let mut parts = line.splitn(3, ' ');
    let start = hexadecimal(parts.next()?)?;
    let size = hexadecimal(parts.next()?)?;
    let name = parts.next()?.trim();
    let end = start.checked_add(size)?;
    (size > 0 && !name.is_empty()).then_some((start, end, name))
}

fn hexadecimal(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::{PerfMap, parse};
    use std::io::Write;

    #[test]
    fn lines() {
        assert_eq!(
            parse("7f00 20 a name; <b>"),
            Some((0x7f00, 0x7f20, "a name; <b>"))
        );
        assert_eq!(parse("0x7f00 0x20 x"), Some((0x7f00, 0x7f20, "x")));
        for bad in [
            "",
            "7f00",
            "7f00 20",
            "7f00 20 ",
            "7f00 0 x",
            "z 1 x",
            "ffffffffffffffff 2 x",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_last_of_two_lines_wins_and_what_grows_is_read() {
        let path = std::env::temp_dir().join(format!("perf-map-test-{}", std::process::id()));
        let mut writer = std::fs::File::create(&path).expect("a file");
        let mut map = PerfMap::new(std::fs::File::open(&path).ok());
        std::fs::remove_file(&path).expect("it is there");
        writer
            .write_all(b"1000 100 first\n1080 10 inner\n20")
            .expect("room");
        assert_eq!(map.find(0x1000), Some("first"));
        assert_eq!(map.find(0x1085), Some("inner"));
        assert_eq!(map.find(0x2000), None);
        writer
            .write_all(b"00 10 later\n1000 8 second\n")
            .expect("room");
        assert_eq!(map.find(0x2001), Some("later"));
        assert_eq!(map.find(0x1001), Some("second"));
        assert_eq!(map.find(0x1010), None);
    }
}
