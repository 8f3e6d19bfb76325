//! Route templates: `/users/42` → `/users/{id}`, bounded in segments and length.

use std::borrow::Cow;

use super::limits::{ROUTE_BYTES, ROUTE_SEGMENTS};
use super::privacy::MASK;

/// Shortest hexadecimal word, and shortest word of mixed characters, that counts as a token.
const HEX_TOKEN: usize = 16;
const MIXED_TOKEN: usize = 20;

/// Builds the template segment by segment, as the path is walked.
#[derive(Debug)]
pub(super) struct Route<'a> {
    out: &'a mut String,
    segments: usize,
    ended: bool,
}

impl<'a> Route<'a> {
    /// Writes to `out`, which is empty.
    pub(super) fn new(out: &'a mut String) -> Self {
        Self {
            out,
            segments: 0,
            ended: false,
        }
    }

    /// Adds a segment: as it was sent, and as it may be shown.
    pub(super) fn segment(&mut self, sent: &str, shown: &str) {
        if self.ended {
            return;
        }
        let is_masked = || !std::ptr::eq(sent, shown) && shown.contains(MASK);
        let template =
            placeholder(sent).unwrap_or_else(|| if is_masked() { "{token}" } else { shown });
        if self.segments == ROUTE_SEGMENTS
            || self.out.len() + 1 + template.len() > ROUTE_BYTES - "/*".len()
        {
            self.out.push_str("/*");
            self.ended = true;
            return;
        }
        self.out.push('/');
        self.out.push_str(template);
        self.segments += 1;
    }
}

/// What stands for a segment that differs from request to request; `None`: the segment itself.
fn placeholder(segment: &str) -> Option<&'static str> {
    let bytes = segment.as_bytes();
    // words are by far the most frequent: no digit, no encoding
    if !bytes
        .iter()
        .any(|&byte| byte.is_ascii_digit() || matches!(byte, b'@' | b'%'))
    {
        return None;
    }
    let decoded = decode_marks(segment);
    let bytes = decoded.as_bytes();
    if is_number(bytes) {
        Some("{id}")
    } else if is_uuid(bytes) {
        Some("{uuid}")
    } else if is_date(bytes) {
        Some("{date}")
    } else if is_email(&decoded) {
        Some("{email}")
    } else if is_token(bytes) {
        Some("{token}")
    } else {
        None
    }
}

/// The marks that dates and addresses need, where they are percent-encoded.
fn decode_marks(segment: &str) -> Cow<'_, str> {
    if !segment.contains('%') {
        return Cow::Borrowed(segment);
    }
    Cow::Owned(
        segment
            .replace("%40", "@")
            .replace("%3A", ":")
            .replace("%3a", ":")
            .replace("%2B", "+"),
    )
}

fn is_hex(bytes: &[u8]) -> bool {
    bytes.iter().all(u8::is_ascii_hexdigit)
}

fn is_number(bytes: &[u8]) -> bool {
    let digits = bytes.strip_prefix(b"-").unwrap_or(bytes);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

fn is_uuid(bytes: &[u8]) -> bool {
    let inner = bytes
        .strip_prefix(b"{")
        .and_then(|rest| rest.strip_suffix(b"}"))
        .unwrap_or(bytes);
    inner.len() == 36
        && inner.iter().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// `2024-02-29`, a time of day behind it or not.
fn is_date(bytes: &[u8]) -> bool {
    let Some((date, rest)) = bytes.split_at_checked(10) else {
        return false;
    };
    let shape = date.iter().enumerate().all(|(place, byte)| match place {
        4 | 7 => *byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    let month = (date[5], date[6]) <= (b'1', b'2') && &date[5..7] != b"00";
    let time = |byte: &u8| {
        byte.is_ascii_digit()
            || matches!(byte, b'T' | b't' | b'Z' | b'z' | b':' | b'.' | b'+' | b'-')
    };
    shape && month && date[8] <= b'3' && rest.iter().all(time)
}

fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else {
        return false;
    };
    !local.is_empty() && domain.contains('.') && !domain.starts_with('.') && !domain.ends_with('.')
}

/// Hexadecimal, or base64 and its like: long, of letters and digits that alternate often or
/// of both cases; words joined by hyphens are none.
fn is_token(bytes: &[u8]) -> bool {
    let has_digit = bytes.iter().any(u8::is_ascii_digit);
    if bytes.len() >= HEX_TOKEN && has_digit && is_hex(bytes) {
        return true;
    }
    let base64 = |byte: &u8| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'_' | b'=' | b'+' | b'.' | b'~' | b'%')
    };
    if bytes.len() < MIXED_TOKEN || !has_digit || !bytes.iter().all(base64) {
        return false;
    }
    let longest_word = bytes
        .split(|byte| matches!(byte, b'-' | b'_' | b'.'))
        .map(<[u8]>::len)
        .max()
        .unwrap_or(0);
    let changes = bytes
        .windows(2)
        .filter(|pair| pair[0].is_ascii_digit() != pair[1].is_ascii_digit())
        .count();
    let mixed_case =
        bytes.iter().any(u8::is_ascii_uppercase) && bytes.iter().any(u8::is_ascii_lowercase);
    longest_word >= HEX_TOKEN && (changes >= 4 || mixed_case)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(path: &str) -> String {
        let mut out = String::new();
        let mut route = Route::new(&mut out);
        for segment in path[1..].split('/') {
            route.segment(segment, segment);
        }
        out
    }

    #[test]
    fn what_differs_is_replaced() {
        for (path, template) in [
            ("/", "/"),
            ("/users/42", "/users/{id}"),
            ("/users/-1/", "/users/{id}/"),
            ("/o/123e4567-e89b-12d3-a456-426614174000", "/o/{uuid}"),
            ("/c/0123456789abcdef0123", "/c/{token}"),
            ("/t/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "/t/{token}"),
            ("/t/01ARZ3NDEKTSV4RRFFQ69G5FAV", "/t/{token}"),
            ("/k/cl9ebqhxk00003b600tymydho", "/k/{token}"),
            ("/d/2024-02-29/x", "/d/{date}/x"),
            ("/d/2024-02-29T12:00:01Z", "/d/{date}"),
            ("/u/jane%40example.org", "/u/{email}"),
            ("/u/jane@example.org", "/u/{email}"),
        ] {
            assert_eq!(route(path), template);
        }
    }

    #[test]
    fn names_are_kept() {
        for path in [
            "/api/v1/users",
            "/static/app.min.js",
            "/how-to-build-a-2024-model-house-in-5-days",
            "/user-123/item_7",
            "/@scope/package",
            "/deadbeef",
            "/Some-Long-Title-Of-An-Article",
            "/internationalization_settings",
        ] {
            assert_eq!(route(path), path);
        }
    }

    #[test]
    fn templates_are_bounded() {
        assert_eq!(route("/a/b/c/d/e/f/g/h/i/j"), "/a/b/c/d/e/f/g/h/*");
        let long = format!("/a/{}", "x".repeat(300));
        assert_eq!(route(&long), "/a/*");
        assert!(route(&format!("/{}", "abcdefgh/".repeat(1000))).len() <= ROUTE_BYTES);
    }

    #[test]
    fn masked_segments_do_not_show() {
        let mut out = String::new();
        Route::new(&mut out).segment("DE89370400440532013000", "***");
        assert_eq!(out, "/{token}");
    }
}
