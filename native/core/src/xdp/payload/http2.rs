//! HEADERS of HTTP/2 (RFC 9113) in one packet, gRPC's among them.
//!
//! A connection is not followed: frames are believed by their form alone, so that form is checked strictly.

use super::bytes::Bytes;
use super::hpack::{self, Stop};
use super::{HttpKind, HttpSeen};
use crate::decode::StartLines;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Frames of one packet that are looked at.
const FRAMES: usize = 16;
/// Header fields of one frame that are looked at.
const FIELDS: usize = 128;
/// Longest frame that is believed without a preface; what peers may send unless they agree on more.
const FRAME_BYTES: usize = 16 * 1024;

mod kind {
    pub(super) const DATA: usize = 0;
    pub(super) const HEADERS: usize = 1;
    pub(super) const PRIORITY: usize = 2;
    pub(super) const RESET: usize = 3;
    pub(super) const SETTINGS: usize = 4;
    pub(super) const PING: usize = 6;
    pub(super) const GO_AWAY: usize = 7;
    pub(super) const WINDOW_UPDATE: usize = 8;
}

mod flag {
    pub(super) const END_HEADERS: usize = 0x4;
    pub(super) const PADDED: usize = 0x8;
    pub(super) const PRIORITY: usize = 0x20;
    /// Those that HEADERS may have: the ones above and `END_STREAM`.
    pub(super) const OF_HEADERS: usize = 0x2d;
}

struct Frame<'a> {
    kind: usize,
    flags: usize,
    stream: usize,
    length: usize,
    payload: Bytes<'a>,
}

/// The first request or response whose HEADERS `bytes` hold.
pub(super) fn read(bytes: &[u8], paths: &mut StartLines) -> Option<HttpSeen> {
    let mut rest = Bytes(bytes.strip_prefix(PREFACE).unwrap_or(bytes));
    for _ in 0..FRAMES {
        let frame = frame(&mut rest)?;
        if frame.kind == kind::HEADERS
            && let Some(seen) = headers(&frame, paths)
        {
            return Some(seen);
        }
    }
    None
}

fn frame<'a>(rest: &mut Bytes<'a>) -> Option<Frame<'a>> {
    let length = rest.number(3)?;
    let (kind, flags, stream) = (rest.number(1)?, rest.number(1)?, rest.number(4)?);
    let frame = Frame {
        kind,
        flags,
        stream,
        length,
        payload: rest.take_up_to(length),
    };
    is_frame(&frame).then_some(frame)
}

fn is_frame(frame: &Frame<'_>) -> bool {
    let has_stream = frame.stream != 0;
    frame.length <= FRAME_BYTES
        && frame.stream < 1 << 31
        && match frame.kind {
            kind::DATA => has_stream && frame.flags & !0x9 == 0,
            kind::HEADERS => has_stream && frame.length > 0 && frame.flags & !flag::OF_HEADERS == 0,
            kind::PRIORITY => has_stream && frame.length == 5,
            kind::RESET => has_stream && frame.length == 4,
            kind::SETTINGS => !has_stream && frame.length.is_multiple_of(6) && frame.flags <= 1,
            kind::PING => !has_stream && frame.length == 8 && frame.flags <= 1,
            kind::GO_AWAY => !has_stream && frame.length >= 8,
            kind::WINDOW_UPDATE => frame.length == 4,
            _ => false,
        }
}

/// What of a head matters here.
#[derive(Default)]
struct Head {
    method: Option<String>,
    path: Option<String>,
    status: Option<u16>,
    has_scheme: bool,
    is_grpc: bool,
}

/// `None` for trailers, for heads whose pseudo-fields only the dynamic table knows, and for other bytes.
fn headers(frame: &Frame<'_>, paths: &mut StartLines) -> Option<HttpSeen> {
    let mut block = block(frame)?;
    let is_cut = block.0.len() < frame.length || frame.flags & flag::END_HEADERS == 0;
    let mut head = Head::default();
    for _ in 0..FIELDS {
        match hpack::field(&mut block) {
            Ok(Some(field)) => head.add(&field, paths)?,
            Ok(None) => break,
            Err(Stop::Cut) if is_cut => break,
            Err(_) => return None,
        }
    }
    head.seen(frame.stream)
}

fn block<'a>(frame: &Frame<'a>) -> Option<Bytes<'a>> {
    let mut payload = frame.payload;
    let mut length = frame.length;
    if frame.flags & flag::PADDED != 0 {
        length = length.checked_sub(1 + payload.number(1)?)?;
    }
    if frame.flags & flag::PRIORITY != 0 {
        payload.take(5)?;
        length = length.checked_sub(5)?;
    }
    Some(payload.take_up_to(length))
}

impl Head {
    /// `None` where no head of HTTP/2 has such a field.
    fn add(&mut self, field: &hpack::Field<'_>, paths: &mut StartLines) -> Option<()> {
        let (Some(name), Some(value)) = (&field.name, &field.value) else {
            return Some(());
        };
        match name.as_ref() {
            b":method" => self.method = Some(token(value)?),
            b":path" => self.path = Some(paths.path_of(value)?),
            b":status" => self.status = Some(status(value)?),
            b":scheme" => self.has_scheme = true,
            b"content-type" => self.is_grpc = value.starts_with(b"application/grpc"),
            name => name.iter().all(|&byte| is_name(byte)).then_some(())?,
        }
        Some(())
    }

    fn seen(self, stream: usize) -> Option<HttpSeen> {
        let is_request = self.method.is_some() && (self.path.is_some() || self.has_scheme);
        let kind = match (is_request, self.status) {
            (true, None) if stream % 2 == 1 => HttpKind::Request,
            (false, Some(_)) if self.method.is_none() => HttpKind::Response,
            _ => return None,
        };
        Some(HttpSeen {
            kind: if self.is_grpc { HttpKind::Grpc } else { kind },
            method: self.method,
            path: self.path,
            status: self.status,
        })
    }
}

fn token(value: &[u8]) -> Option<String> {
    let is_token = !value.is_empty() && value.len() <= 32 && value.iter().all(u8::is_ascii_graphic);
    is_token.then(|| String::from_utf8_lossy(value).into_owned())
}

fn status(value: &[u8]) -> Option<u16> {
    let text = str::from_utf8(value).ok().filter(|text| text.len() == 3)?;
    text.parse()
        .ok()
        .filter(|status| (100..1000).contains(status))
}

/// Names are in lower case (RFC 9113, 8.2).
fn is_name(byte: u8) -> bool {
    byte.is_ascii_graphic() && !byte.is_ascii_uppercase()
}
