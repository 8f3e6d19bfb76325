//! HPACK (RFC 7541) as far as one packet tells: the static table and literals.
//!
//! The dynamic table is made by headers of earlier packets, some of which may not have been seen. What refers
//! to it is unknown; it is never guessed.

use std::borrow::Cow;

use super::bytes::Bytes;

/// Entries of the static table.
const STATIC: usize = 61;
/// Furthest entry of the dynamic table that is believed: that of a table of 64 KiB.
const FURTHEST: usize = STATIC + 64 * 1024 / 32;
/// Longest string that is decoded.
const STRING_BYTES: usize = 16 * 1024;

/// A header field; `None` is what only the dynamic table knows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Field<'a> {
    pub(super) name: Option<Cow<'a, [u8]>>,
    pub(super) value: Option<Cow<'a, [u8]>>,
}

/// Why reading ended before the block did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stop {
    /// The bytes end within a field.
    Cut,
    /// This is no header block.
    Invalid,
}

/// Reads the next field of a block; `Ok(None)` at its end.
pub(super) fn field<'a>(block: &mut Bytes<'a>) -> Result<Option<Field<'a>>, Stop> {
    while let Some(0x20..=0x3f) = block.0.first() {
        integer(block, 5)?; // a new size of the table
    }
    match block.0.first() {
        None => Ok(None),
        Some(0x80..) => indexed(integer(block, 7)?).map(Some),
        Some(0x40..) => literal(block, 6).map(Some),
        Some(_) => literal(block, 4).map(Some),
    }
}

fn indexed<'a>(index: usize) -> Result<Field<'a>, Stop> {
    let (name, value) = match index {
        1..=STATIC => entry(index),
        _ if index > STATIC && index <= FURTHEST => {
            return Ok(Field {
                name: None,
                value: None,
            });
        }
        _ => return Err(Stop::Invalid),
    };
    Ok(Field {
        name: Some(Cow::Borrowed(name)),
        value: Some(Cow::Borrowed(value)),
    })
}

fn literal<'a>(block: &mut Bytes<'a>, prefix: u32) -> Result<Field<'a>, Stop> {
    let name = match integer(block, prefix)? {
        0 => Some(string(block)?),
        index => indexed(index)?.name,
    };
    Ok(Field {
        name,
        value: Some(string(block)?),
    })
}

/// RFC 7541, 5.1; `prefix` bits of the first byte belong to it.
fn integer(block: &mut Bytes<'_>, prefix: u32) -> Result<usize, Stop> {
    let mask = (1 << prefix) - 1;
    let mut value = block.number(1).ok_or(Stop::Cut)? & mask;
    if value < mask {
        return Ok(value);
    }
    for shift in [0, 7, 14, 21] {
        let byte = block.number(1).ok_or(Stop::Cut)?;
        value += (byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Stop::Invalid)
}

fn string<'a>(block: &mut Bytes<'a>) -> Result<Cow<'a, [u8]>, Stop> {
    let is_huffman = block.0.first().ok_or(Stop::Cut)? & 0x80 != 0;
    let length = integer(block, 7)?;
    if length > STRING_BYTES {
        return Err(Stop::Invalid);
    }
    let bytes = block.take(length).ok_or(Stop::Cut)?;
    if is_huffman {
        huffman(bytes).map(Cow::Owned).ok_or(Stop::Invalid)
    } else {
        Ok(Cow::Borrowed(bytes))
    }
}

/// Name and value of an entry of the static table; the names that nobody asks for are empty.
fn entry(index: usize) -> (&'static [u8], &'static [u8]) {
    match index {
        1 => (b":authority", b""),
        2 => (b":method", b"GET"),
        3 => (b":method", b"POST"),
        4 => (b":path", b"/"),
        5 => (b":path", b"/index.html"),
        6 => (b":scheme", b"http"),
        7 => (b":scheme", b"https"),
        8 => (b":status", b"200"),
        9 => (b":status", b"204"),
        10 => (b":status", b"206"),
        11 => (b":status", b"304"),
        12 => (b":status", b"400"),
        13 => (b":status", b"404"),
        14 => (b":status", b"500"),
        31 => (b"content-type", b""),
        _ => (b"", b""),
    }
}

/// Length in bits of each byte's code; the codes themselves are canonical (RFC 7541, appendix B).
#[rustfmt::skip]
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];
const LONGEST: usize = 30;

/// The canonical code: bytes by length and value, and for each length its first code and first byte.
struct Code {
    bytes: [u8; 256],
    first_code: [u32; LONGEST + 2],
    first_byte: [usize; LONGEST + 2],
}

const fn code() -> Code {
    let mut code = Code {
        bytes: [0; 256],
        first_code: [0; LONGEST + 2],
        first_byte: [0; LONGEST + 2],
    };
    let (mut length, mut next, mut place) = (1, 0_u32, 0);
    while length <= LONGEST {
        code.first_code[length] = next;
        code.first_byte[length] = place;
        let mut byte = 0;
        while byte < 256 {
            if LENGTHS[byte] as usize == length {
                code.bytes[place] = byte as u8;
                place += 1;
                next += 1;
            }
            byte += 1;
        }
        next <<= 1;
        length += 1;
    }
    code.first_byte[length] = place;
    code
}

static CODE: Code = code();

/// `None` where these are no codes, or the padding at the end is wrong.
fn huffman(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(bytes.len() * 8 / 5);
    let (mut code, mut length) = (0_u32, 0);
    for bit in bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |place| byte >> place & 1))
    {
        code = code << 1 | u32::from(bit);
        length += 1;
        if length > LONGEST {
            return None;
        }
        let place = (code.checked_sub(CODE.first_code[length])?) as usize + CODE.first_byte[length];
        if place < CODE.first_byte[length + 1] {
            text.push(CODE.bytes[place]);
            (code, length) = (0, 0);
        }
    }
    // less than a byte of ones
    (length < 8 && code + 1 == 1 << length).then_some(text)
}
