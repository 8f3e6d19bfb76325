//! The server name and the protocols that a TLS `ClientHello` offers (RFC 8446, RFC 6066, RFC 7301).
//!
//! A hello may be longer than a packet; extensions that lie in the next one are not seen.

use super::TlsSeen;
use super::bytes::Bytes;

/// Content type of a record.
pub(super) const HANDSHAKE: &u8 = &22;
const CLIENT_HELLO: usize = 1;
const SERVER_NAME: usize = 0;
const ALPN: usize = 16;
/// Bounds of what is kept; real ones are far below.
const NAME_BYTES: usize = 255;
const PROTOCOLS: usize = 16;

/// Reads a hello at the beginning of `bytes`; `None` where there is none.
pub(super) fn client_hello(bytes: &[u8]) -> Option<TlsSeen> {
    let mut record = Bytes(bytes);
    let [22, 3, 0..=4, ..] = record.take(3)? else {
        return None;
    };
    let mut handshake = record.prefixed_up_to(2)?;
    (handshake.number(1)? == CLIENT_HELLO).then_some(())?;
    let mut hello = handshake.prefixed_up_to(3)?;
    (hello.number(1)? == 3).then_some(())?;
    hello.take(1 + 32)?; // minor version, random
    let session = hello.prefixed(1)?;
    (session.len() <= 32).then_some(())?;
    let mut seen = TlsSeen::default();
    // from here on the packet may end
    let _ = extensions(&mut hello, &mut seen);
    Some(seen)
}

fn extensions(hello: &mut Bytes<'_>, seen: &mut TlsSeen) -> Option<()> {
    hello.prefixed(2)?; // cipher suites
    hello.prefixed(1)?; // compression methods
    let mut all = hello.prefixed_up_to(2)?;
    while !all.is_empty() {
        let extension = all.number(2)?;
        let body = all.prefixed(2)?;
        match extension {
            SERVER_NAME => seen.sni = server_name(body),
            ALPN => seen.alpn = protocols(body).unwrap_or_default(),
            _ => {}
        }
    }
    Some(())
}

fn server_name(body: &[u8]) -> Option<String> {
    let mut names = Bytes(Bytes(body).prefixed(2)?);
    let kind = names.number(1)?;
    let name = names.prefixed(2)?;
    (kind == 0 && !name.is_empty() && name.len() <= NAME_BYTES).then(|| printable(name))
}

fn protocols(body: &[u8]) -> Option<Vec<String>> {
    let mut list = Bytes(Bytes(body).prefixed(2)?);
    let mut found = Vec::new();
    while !list.is_empty() && found.len() < PROTOCOLS {
        found.push(printable(list.prefixed(1)?));
    }
    Some(found)
}

/// Bytes that are no printable ASCII are written `\xNN`.
fn printable(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
