//! Chunked bodies (RFC 9112, 7.1): where the data lies and where the body ends.

use super::limits::{CHUNK_LINE_BYTES, HEAD_BYTES};

/// Bytes behind the data of the last but one chunk: its line end, `0`, two line ends.
const LAST_CHUNK: u64 = 5;

/// State between two bytes of a chunked body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Chunks {
    /// In the line with a chunk's size.
    Size {
        size: u64,
        digits: u8,
        after_digits: bool,
        line: u32,
    },
    /// In a chunk's data, which ends at this position.
    Data { end: u64 },
    /// Before the line end behind the data.
    DataEnd { after_return: bool },
    /// In the trailer: bytes in the present line (CR not counted), bytes in all.
    Trailer { line: u32, total: u32 },
}

/// What was made of some bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// So many bytes are framing; there may be more to do.
    Framing(usize),
    /// So many bytes are data.
    Data(usize),
    /// The body ends behind so many bytes.
    End(usize),
    /// Not a chunked body.
    Malformed,
}

impl Chunks {
    pub(super) fn new() -> Self {
        Self::Size {
            size: 0,
            digits: 0,
            after_digits: false,
            line: 0,
        }
    }

    /// Takes the next bytes, which begin at `position`; `bytes` is not empty.
    pub(super) fn step(&mut self, position: u64, bytes: &[u8]) -> Step {
        match *self {
            Self::Data { end } => {
                let taken = (end - position).min(bytes.len() as u64);
                if position + taken == end {
                    *self = Self::DataEnd {
                        after_return: false,
                    };
                }
                Step::Data(taken as usize)
            }
            Self::DataEnd { after_return } => self.data_end(bytes[0], after_return),
            Self::Size { .. } => self.size(position, bytes),
            Self::Trailer { .. } => self.trailer(bytes),
        }
    }

    fn data_end(&mut self, byte: u8, after_return: bool) -> Step {
        match byte {
            b'\r' if !after_return => *self = Self::DataEnd { after_return: true },
            b'\n' => *self = Self::new(),
            _ => return Step::Malformed,
        }
        Step::Framing(1)
    }

    fn size(&mut self, position: u64, bytes: &[u8]) -> Step {
        for (at, &byte) in bytes.iter().enumerate() {
            let Self::Size {
                size,
                digits,
                after_digits,
                line,
            } = self
            else {
                return Step::Malformed;
            };
            *line += 1;
            if *line > CHUNK_LINE_BYTES {
                return Step::Malformed;
            }
            match (byte, char::from(byte).to_digit(16)) {
                (b'\n', _) if *digits > 0 => {
                    let size = *size;
                    *self = if size == 0 {
                        Self::Trailer { line: 0, total: 0 }
                    } else {
                        Self::Data {
                            end: (position + at as u64 + 1).saturating_add(size),
                        }
                    };
                    return Step::Framing(at + 1);
                }
                (_, Some(digit)) if !*after_digits && *digits < 15 => {
                    *size = *size * 16 + u64::from(digit);
                    *digits += 1;
                }
                (_, Some(0)) if !*after_digits && *size == 0 => {}
                (b';' | b' ' | b'\t' | b'\r', _) if *digits > 0 => *after_digits = true,
                (b'\n', _) => return Step::Malformed,
                _ if *after_digits => {}
                _ => return Step::Malformed,
            }
        }
        Step::Framing(bytes.len())
    }

    fn trailer(&mut self, bytes: &[u8]) -> Step {
        let Self::Trailer { line, total } = self else {
            return Step::Malformed;
        };
        for (at, &byte) in bytes.iter().enumerate() {
            *total += 1;
            match byte {
                b'\n' if *line == 0 => return Step::End(at + 1),
                b'\n' => *line = 0,
                b'\r' => {}
                _ => *line += 1,
            }
            if *total as usize > HEAD_BYTES {
                return Step::Malformed;
            }
        }
        Step::Framing(bytes.len())
    }

    /// Passes `length` bytes that were not seen and end an operation. `Some(rest)`: so many of
    /// them come after the body; `None`: it is no longer known where chunks begin.
    ///
    /// Only what needs no look is passed: data, and the line end behind it. Exactly five
    /// bytes where a chunk begins, with which the operation ends, are the last chunk (`0`, two
    /// line ends): a sender has no reason to begin another chunk in five bytes and to stop there.
    pub(super) fn pass(&mut self, position: u64, length: u64) -> Option<Passed> {
        let mut left = length;
        if let Self::Data { end } = *self {
            let taken = (end - position).min(left);
            left -= taken;
            if position + taken == end {
                *self = Self::DataEnd {
                    after_return: false,
                };
            }
        }
        if let (Self::DataEnd { after_return }, 1..) = (*self, left) {
            let rest = if after_return { 1 } else { 2 };
            if left < rest {
                *self = Self::DataEnd { after_return: true };
                return Some(Passed::Inside);
            }
            left -= rest;
            *self = Self::new();
        }
        match left {
            0 => Some(Passed::Inside),
            LAST_CHUNK if *self == Self::new() => Some(Passed::End),
            _ => None,
        }
    }

    /// Where the present chunk's data ends.
    pub(super) fn data_until(&self) -> Option<u64> {
        match *self {
            Self::Data { end } => Some(end),
            _ => None,
        }
    }
}

/// Where bytes that were not seen have led.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Passed {
    Inside,
    End,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs over `body` cut at every `cut` bytes; the data, and where the body ended.
    fn run(body: &[u8], cut: usize) -> (Vec<u8>, Option<usize>) {
        let (mut chunks, mut data, mut at) = (Chunks::new(), Vec::new(), 0);
        while at < body.len() {
            let piece = &body[at..body.len().min(at - at % cut + cut)];
            match chunks.step(at as u64, piece) {
                Step::Framing(taken) => at += taken,
                Step::Data(taken) => {
                    data.extend_from_slice(&piece[..taken]);
                    at += taken;
                }
                Step::End(taken) => return (data, Some(at + taken)),
                Step::Malformed => return (data, None),
            }
        }
        (data, None)
    }

    #[test]
    fn bodies_are_read_however_they_are_cut() {
        let body = b"3\r\nabc\r\n00A ;ext=\"1\"\r\n0123456789\r\n1\nx\n0\r\nTrailer: 1\r\nOther: 2\r\n\r\nGET";
        for cut in 1..body.len() {
            assert_eq!(
                run(body, cut),
                (b"abc0123456789x".to_vec(), Some(body.len() - 3)),
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn malformed_bodies_are_noticed() {
        for body in [
            "\r\n",
            "x\r\n",
            "3\r\nabcd\r\n",
            "-1\r\n",
            "fffffffffffffffff\r\n",
            " 3\r\nabc",
        ] {
            assert_eq!(run(body.as_bytes(), 100).1, None, "{body}");
        }
        let mut chunks = Chunks::new();
        assert_eq!(
            chunks.step(0, "1;".repeat(20_000).as_bytes()),
            Step::Malformed
        );
    }

    #[test]
    fn data_and_line_ends_pass_unseen() {
        let mut chunks = Chunks::Data { end: 100 };
        assert_eq!(chunks.pass(40, 60), Some(Passed::Inside));
        assert_eq!(chunks.pass(100, 1), Some(Passed::Inside));
        assert_eq!(chunks.pass(101, 1), Some(Passed::Inside));
        assert_eq!(chunks, Chunks::new());
        assert_eq!(chunks.pass(102, 5), Some(Passed::End));
        let mut chunks = Chunks::Data { end: 100 };
        assert_eq!(chunks.pass(90, 17), Some(Passed::End));
        let mut chunks = Chunks::Data { end: 100 };
        assert_eq!(chunks.pass(90, 20), None);
    }
}
