//! Masking of JSON, without trusting it to be JSON.

use memchr::memchr;

use super::bodies::count;
use super::{MASK, Privacy, merge};

/// A forgiving walk over JSON text.
pub(super) struct Json<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Json<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Masks the values of sensitive keys, and everything by shape.
    pub(super) fn mask(mut self, privacy: &mut Privacy, out: &mut String) {
        while let Some(byte) = self.peek() {
            match byte {
                b'"' => self.string(privacy, out),
                _ if is_bare(byte) => {
                    let word = self.take_while(is_bare);
                    privacy.find_in(word.as_bytes(), false);
                    // quoted, so that the text stays JSON
                    if privacy.found.is_empty() {
                        out.push_str(word)
                    } else {
                        quoted_mask(out)
                    }
                }
                _ => out.push_str(self.take_while(|byte| byte != b'"' && !is_bare(byte))),
            }
        }
    }

    /// For a text without anything to find by shape: only values of sensitive keys are masked.
    pub(super) fn mask_by_key(mut self, privacy: &mut Privacy, out: &mut String) {
        let mut written = 0;
        while let Some(quote) = memchr(b'"', &self.text.as_bytes()[self.at..]) {
            self.at += quote;
            let (content, _) = self.take_string();
            self.take_while(|byte| byte.is_ascii_whitespace());
            if self.peek() != Some(b':') || !is_sensitive_key(content, privacy) {
                continue;
            }
            self.at += 1;
            self.take_while(|byte| byte.is_ascii_whitespace());
            out.push_str(&self.text[written..self.at]);
            self.skip_value();
            quoted_mask(out);
            written = self.at;
        }
        out.push_str(&self.text[written..]);
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take_while(&mut self, accepts: impl Fn(u8) -> bool) -> &'a str {
        let start = self.at;
        self.at += count(&self.text.as_bytes()[start..], accepts);
        &self.text[start..self.at]
    }

    /// A string; when it turns out to be a sensitive key, its value is masked with it.
    fn string(&mut self, privacy: &mut Privacy, out: &mut String) {
        let (content, closed) = self.take_string();
        out.push('"');
        mask_content(content, privacy, out);
        if !closed {
            return;
        }
        out.push('"');
        let blanks = self.take_while(|byte| byte.is_ascii_whitespace());
        out.push_str(blanks);
        if self.peek() != Some(b':') {
            return;
        }
        self.at += 1;
        out.push(':');
        if is_sensitive_key(content, privacy) {
            let blanks = self.take_while(|byte| byte.is_ascii_whitespace());
            out.push_str(blanks);
            self.skip_value();
            quoted_mask(out);
        }
    }

    /// The content of the string at this place, and whether its end is there.
    fn take_string(&mut self) -> (&'a str, bool) {
        self.at += 1;
        let start = self.at;
        let bytes = self.text.as_bytes();
        while let Some(&byte) = bytes.get(self.at) {
            match byte {
                b'"' => {
                    self.at += 1;
                    return (&self.text[start..self.at - 1], true);
                }
                b'\\' if self.at + 1 < bytes.len() => self.at += 2,
                _ => self.at += 1,
            }
        }
        // an escape may have stepped into a character of several bytes
        (&self.text[start..], false)
    }

    fn skip_value(&mut self) {
        let mut depth = 0usize;
        while let Some(byte) = self.peek() {
            match byte {
                b'"' => {
                    self.take_string();
                }
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' if depth == 0 => return,
                b'}' | b']' => {
                    depth -= 1;
                    self.at += 1;
                }
                b',' if depth == 0 => return,
                _ => self.at += 1,
            }
            if depth == 0 && matches!(byte, b'"' | b'}' | b']') {
                return;
            }
        }
    }
}

fn is_sensitive_key(content: &str, privacy: &mut Privacy) -> bool {
    match memchr(b'\\', content.as_bytes()) {
        Some(_) => privacy.is_sensitive_field(&unescape(content).0),
        None => privacy.is_sensitive_field(content.as_bytes()),
    }
}

fn is_bare(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80 || matches!(byte, b'+' | b'-' | b'.' | b'_' | b'@')
}

fn quoted_mask(out: &mut String) {
    out.push('"');
    out.push_str(MASK);
    out.push('"');
}

fn mask_content(content: &str, privacy: &mut Privacy, out: &mut String) {
    privacy.find_in(content.as_bytes(), false);
    if memchr(b'\\', content.as_bytes()).is_some() {
        let plain = std::mem::take(&mut privacy.found);
        let (text, origins) = unescape(content);
        privacy.find_in(&text, false);
        for place in &mut privacy.found {
            *place = origins[place.start]..origins[place.end];
        }
        privacy.found.extend(plain);
        merge(&mut privacy.found);
    }
    privacy.write(content, out);
}

/// The text that JSON escapes stand for, and where each of its bytes came from.
fn unescape(content: &str) -> (Vec<u8>, Vec<usize>) {
    let bytes = content.as_bytes();
    let (mut text, mut origins) = (
        Vec::with_capacity(bytes.len()),
        Vec::with_capacity(bytes.len() + 1),
    );
    let mut at = 0;
    while at < bytes.len() {
        let (character, length) = match (bytes[at], bytes.get(at + 1)) {
            (b'\\', Some(b'u')) => (unicode_escape(&bytes[at..]), 6.min(bytes.len() - at)),
            (b'\\', Some(b'n' | b'r' | b't' | b'b' | b'f')) => (Some(' '), 2),
            (b'\\', Some(&escaped)) if escaped.is_ascii() => (Some(char::from(escaped)), 2),
            (byte, _) => {
                text.push(byte);
                origins.push(at);
                at += 1;
                continue;
            }
        };
        let mut buffer = [0; 4];
        let encoded = character
            .unwrap_or(char::REPLACEMENT_CHARACTER)
            .encode_utf8(&mut buffer);
        text.extend_from_slice(encoded.as_bytes());
        origins.extend(std::iter::repeat_n(at, encoded.len()));
        at += length;
    }
    origins.push(bytes.len());
    (text, origins)
}

fn unicode_escape(escape: &[u8]) -> Option<char> {
    let digits = str::from_utf8(escape.get(2..6)?).ok()?;
    char::from_u32(u32::from_str_radix(digits, 16).ok()?)
}
