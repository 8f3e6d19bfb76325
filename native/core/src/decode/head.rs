//! Heads of HTTP/1 messages: from bytes to the places of their parts.
//!
//! Strict where it decides whether this is HTTP at all (the start line), tolerant where real
//! peers differ (bare LF, folded values, bytes beyond ASCII). Nothing here allocates once
//! [`FieldRanges`] has grown.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memchr;

use crate::columns::ascii_text;

use super::limits::{HEADER_FIELDS, METHOD_BYTES};

/// The head as text; bytes that are no UTF-8 are replaced.
pub(super) fn to_text(head: &[u8]) -> Cow<'_, str> {
    match ascii_text(head) {
        Some(text) => Cow::Borrowed(text),
        None => String::from_utf8_lossy(head),
    }
}

/// Place of a part in the head, in bytes from its beginning.
pub(super) type Place = Range<usize>;

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct RequestLine {
    pub(super) method: Place,
    pub(super) target: Place,
    pub(super) version: Version,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct StatusLine {
    pub(super) version: Version,
    pub(super) status: u16,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Version {
    Http10,
    #[default]
    Http11,
}

impl Version {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
        }
    }

    /// `HTTP/1.x`; a minor version that is not known yet is treated as 1.1 (RFC 9110, 2.5).
    fn parse(text: &[u8]) -> Option<Self> {
        match text.strip_prefix(b"HTTP/1.")? {
            b"0" => Some(Self::Http10),
            [b'1'..=b'9'] => Some(Self::Http11),
            _ => None,
        }
    }
}

const fn token_table() -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let marks = b"!#$%&'*+-.^_`|~";
    let mut mark = 0;
    while mark < marks.len() {
        table[marks[mark] as usize] = true;
        mark += 1;
    }
    table
}

static TOKEN: [bool; 256] = token_table();

fn is_token(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

/// What bytes at the beginning of a message say about it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Opening {
    Request,
    Response,
    /// Too few bytes to tell; nothing speaks against HTTP.
    Undecided,
    Neither,
}

/// Judges the first bytes of a message. A start line that is there as a whole is checked as a
/// whole, so that binary traffic which only begins like HTTP is told apart.
pub(super) fn opening(bytes: &[u8]) -> Opening {
    const MARK: &[u8] = b"HTTP/1.";
    if bytes.len() < MARK.len() && MARK.starts_with(bytes) {
        return Opening::Undecided;
    }
    let line = line_of(bytes);
    if bytes.starts_with(MARK) {
        return match line {
            Some(line) if parse_status_line(line).is_none() => Opening::Neither,
            None if !status_line_may_follow(bytes) => Opening::Neither,
            _ => Opening::Response,
        };
    }
    match line {
        Some(line) if parse_request_line(line).is_some() => Opening::Request,
        Some(_) => Opening::Neither,
        None => request_line_so_far(bytes),
    }
}

/// The first line without its end, when the end is there.
pub(super) fn line_of(bytes: &[u8]) -> Option<&[u8]> {
    let end = memchr(b'\n', bytes)?;
    Some(bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]))
}

fn status_line_may_follow(bytes: &[u8]) -> bool {
    let shape = b"HTTP/1.0 000";
    bytes
        .iter()
        .zip(shape)
        .all(|(byte, expected)| match expected {
            b'0' => byte.is_ascii_digit(),
            _ => byte == expected,
        })
}

fn request_line_so_far(bytes: &[u8]) -> Opening {
    let method = bytes.iter().take_while(|&&byte| is_token(byte)).count();
    if method > METHOD_BYTES {
        return Opening::Neither;
    }
    match &bytes[method..] {
        [] | [b' '] if method > 0 => Opening::Undecided,
        [b' ', target @ ..] if method > 0 && target_so_far(&bytes[..method], target) => {
            Opening::Request
        }
        _ => Opening::Neither,
    }
}

/// Whether what came of a target, and of the version behind it, can still become a request line.
fn target_so_far(method: &[u8], bytes: &[u8]) -> bool {
    let length = bytes
        .iter()
        .take_while(|&&byte| byte > b' ' && byte != 0x7f)
        .count();
    let (target, version) = bytes.split_at(length);
    let has_end = !version.is_empty();
    let shape = b" HTTP/1.1\r";
    let version_fits = version.len() <= shape.len()
        && version
            .iter()
            .zip(shape)
            .enumerate()
            .all(|(place, (byte, expected))| {
                byte == expected || (place == shape.len() - 2 && byte.is_ascii_digit())
            });
    let target_fits = is_target(method, target) || (!has_end && may_become_target(method, target));
    version_fits && target_fits
}

fn may_become_target(method: &[u8], target: &[u8]) -> bool {
    let scheme = target
        .iter()
        .take_while(|&&byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
        .count();
    let rest = &target[scheme..];
    (method == b"CONNECT" && target[0] != b'/')
        || (target[0].is_ascii_alphabetic() && b"://".starts_with(rest))
}

/// `METHOD SP target SP HTTP/1.x`, without the line's end.
pub(super) fn parse_request_line(line: &[u8]) -> Option<RequestLine> {
    let method = line
        .iter()
        .take(METHOD_BYTES + 1)
        .take_while(|&&byte| is_token(byte))
        .count();
    if method == 0 || line.get(method) != Some(&b' ') {
        return None;
    }
    let start = method + 1;
    // the version is the last word, and its length is fixed
    let end = line
        .len()
        .checked_sub(b" HTTP/1.1".len())
        .filter(|&end| end > start)?;
    let version = Version::parse(line[end..].strip_prefix(b" ")?)?;
    let target = &line[start..end];
    if target.iter().any(|&byte| byte <= b' ' || byte == 0x7f)
        || !is_target(&line[..method], target)
    {
        return None;
    }
    Some(RequestLine {
        method: 0..method,
        target: start..end,
        version,
    })
}

/// One of the four forms of RFC 9112, 3.2.
fn is_target(method: &[u8], target: &[u8]) -> bool {
    match target {
        [b'/', ..] => true,
        b"*" => method == b"OPTIONS",
        _ if method == b"CONNECT" => is_authority(target),
        _ => scheme_length(target).is_some(),
    }
}

fn is_authority(target: &[u8]) -> bool {
    let Some(colon) = target.iter().rposition(|&byte| byte == b':') else {
        return false;
    };
    let port = &target[colon + 1..];
    colon > 0 && !port.is_empty() && port.iter().all(u8::is_ascii_digit) && !target.contains(&b'/')
}

/// Length of `scheme://` at the beginning of an absolute URI.
pub(super) fn scheme_length(target: &[u8]) -> Option<usize> {
    let scheme = target
        .iter()
        .take_while(|&&byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
        .count();
    let after = target.get(scheme..)?.strip_prefix(b"://")?;
    (target[0].is_ascii_alphabetic() && !after.is_empty()).then_some(scheme + 3)
}

/// `HTTP/1.x SP status [SP reason]`, without the line's end.
pub(super) fn parse_status_line(line: &[u8]) -> Option<StatusLine> {
    let version = Version::parse(line.get(..8)?)?;
    let [
        b' ',
        hundreds @ b'1'..=b'9',
        tens @ b'0'..=b'9',
        ones @ b'0'..=b'9',
        rest @ ..,
    ] = &line[8..]
    else {
        return None;
    };
    if !matches!(rest, [] | [b' ', ..]) || rest.contains(&0) {
        return None;
    }
    let digit = |byte: &u8| u16::from(byte - b'0');
    Some(StatusLine {
        version,
        status: digit(hundreds) * 100 + digit(tens) * 10 + digit(ones),
    })
}

/// Where the name and the value of a header field lie.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct FieldRange {
    pub(super) name: (u32, u32),
    pub(super) value: (u32, u32),
}

/// The header fields of one head; reused from head to head.
#[derive(Debug, Default)]
pub(super) struct FieldRanges {
    pub(super) fields: Vec<FieldRange>,
    /// A line that is no field, a name that is no token, a NUL byte.
    pub(super) malformed: bool,
    /// At least one value goes on over further lines (RFC 9112, 5.2).
    pub(super) folded: bool,
    /// There were more than [`HEADER_FIELDS`].
    pub(super) cut: bool,
}

/// Whose head it is: a request must not have a space before a colon, a response may (RFC 9112, 5.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Side {
    Request,
    Response,
}

impl FieldRanges {
    pub(super) fn clear(&mut self) {
        self.fields.clear();
        (self.malformed, self.folded, self.cut) = (false, false, false);
    }

    /// Reads the lines that begin at `start`. Returns where the body begins, or `None` when
    /// the empty line is not there yet (the fields seen so far are kept).
    pub(super) fn read(&mut self, head: &[u8], start: usize, side: Side) -> Option<usize> {
        self.clear();
        let mut at = start;
        loop {
            let rest = &head[at..];
            match rest {
                [b'\n', ..] => return Some(at + 1),
                [b'\r', b'\n', ..] => return Some(at + 2),
                _ => {}
            }
            let name_end = at + rest.iter().take_while(|&&byte| is_token(byte)).count();
            let line_end = name_end + memchr(b'\n', &head[name_end..])?;
            self.line(head, at, name_end, line_end, side);
            at = line_end + 1;
        }
    }

    fn line(&mut self, head: &[u8], start: usize, name_end: usize, line_end: usize, side: Side) {
        let end = if head[..line_end].ends_with(b"\r") && line_end > start {
            line_end - 1
        } else {
            line_end
        };
        if matches!(head[start], b' ' | b'\t') {
            return self.fold(head, end);
        }
        let mut colon = name_end;
        while side == Side::Response && colon < end && matches!(head[colon], b' ' | b'\t') {
            colon += 1;
        }
        if name_end == start || colon >= end || head[colon] != b':' {
            self.malformed = true;
            return;
        }
        if self.fields.len() == HEADER_FIELDS {
            self.cut = true;
            return;
        }
        let value = trim(head, colon + 1, end);
        self.fields.push(FieldRange {
            name: (start as u32, name_end as u32),
            value,
        });
    }

    /// The value of the field before goes on.
    fn fold(&mut self, head: &[u8], end: usize) {
        match self.fields.last_mut() {
            Some(field) => {
                field.value = trim(head, field.value.0 as usize, end);
                self.folded = true;
            }
            None => self.malformed = true,
        }
    }
}

fn trim(head: &[u8], mut start: usize, mut end: usize) -> (u32, u32) {
    let is_blank = |byte: u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    while start < end && is_blank(head[start]) {
        start += 1;
    }
    while end > start && is_blank(head[end - 1]) {
        end -= 1;
    }
    (start as u32, end as u32)
}

/// Searches the end of a head that comes in pieces, each byte once.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct EndSearch {
    /// 0: inside a line; 1: a line has ended; 2: and a CR followed.
    state: u8,
}

impl EndSearch {
    /// For a head whose start line begins with the next byte.
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Number of bytes of `piece` up to and including the head's end.
    pub(super) fn find(&mut self, piece: &[u8]) -> Option<usize> {
        let mut at = 0;
        while at < piece.len() {
            match (self.state, piece[at]) {
                (1 | 2, b'\n') => return Some(at + 1),
                (1, b'\r') => self.state = 2,
                (_, b'\n') => self.state = 1,
                _ => {
                    self.state = 0;
                    at += memchr(b'\n', &piece[at..])?;
                    continue;
                }
            }
            at += 1;
        }
        None
    }
}
