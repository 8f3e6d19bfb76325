//! Masking of bodies, by the notation that they are in.

use std::ops::Range;

use memchr::{memchr, memchr2};

use super::{MASK, Privacy};
use crate::decode::head::to_text;

/// Notations of bodies that may leave the process.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::decode) enum BodyKind {
    Json,
    Form,
    Markup,
    Text,
}

impl BodyKind {
    /// By the media type; `None` for what is not text.
    pub(in crate::decode) fn of(content_type: &str) -> Option<Self> {
        let media_type = media_type(content_type);
        let (kind, subtype) = media_type.split_at(memchr(b'/', media_type.as_bytes())?);
        if ends_with(subtype, "json") || starts_with(subtype, "/json") {
            Some(Self::Json)
        } else if subtype.eq_ignore_ascii_case("/x-www-form-urlencoded") {
            Some(Self::Form)
        } else if ends_with(subtype, "xml") || media_type.eq_ignore_ascii_case("text/html") {
            Some(Self::Markup)
        } else {
            kind.eq_ignore_ascii_case("text").then_some(Self::Text)
        }
    }

    /// What a text without a telling media type looks like.
    fn sniff(self, text: &str) -> Self {
        match (self, text.trim_start().as_bytes().first()) {
            (Self::Text, Some(b'{' | b'[')) => Self::Json,
            (Self::Text, Some(b'<')) => Self::Markup,
            _ => self,
        }
    }
}

/// A Content-Type's media type, without its parameters.
pub(in crate::decode) fn media_type(content_type: &str) -> &str {
    let end = memchr(b';', content_type.as_bytes()).unwrap_or(content_type.len());
    content_type[..end].trim_ascii()
}

fn starts_with(text: &str, beginning: &str) -> bool {
    text.get(..beginning.len())
        .is_some_and(|part| part.eq_ignore_ascii_case(beginning))
}

fn ends_with(text: &str, end: &str) -> bool {
    let start = text
        .len()
        .checked_sub(end.len())
        .and_then(|start| text.get(start..));
    start.is_some_and(|part| part.eq_ignore_ascii_case(end))
}

impl Privacy {
    /// Writes at most `limit` bytes of a body to `out`, masked. `body` is its beginning, `whole`
    /// says that nothing follows; the more follows in `body` beyond `limit`, the surer a secret
    /// at the cut is recognised. What stands at the end of a cut body is masked on suspicion.
    pub(in crate::decode) fn mask_body(
        &mut self,
        kind: BodyKind,
        body: &[u8],
        whole: bool,
        limit: usize,
        out: &mut String,
    ) {
        out.clear();
        let text = to_text(body);
        self.calm = !self.suspects(body) && memchr2(b'=', b'\\', body).is_none();
        match kind.sniff(&text) {
            BodyKind::Json if self.calm => Json { text: &text, at: 0 }.mask_by_key(self, out),
            BodyKind::Json => Json { text: &text, at: 0 }.mask(self, out),
            BodyKind::Form => self.mask_pairs(&text, out),
            BodyKind::Markup => self.mask_markup(&text, out),
            BodyKind::Text => self.mask_plain(&text, out),
        }
        self.calm = false;
        if !whole && self.by_shape {
            mask_tail(out);
        }
        if out.len() > limit {
            let mut end = limit;
            while !out.is_char_boundary(end) {
                end -= 1;
            }
            out.truncate(end);
        }
    }

    /// `name=value` and `name: value` in free text.
    fn mask_plain(&mut self, text: &str, out: &mut String) {
        self.find_in(text.as_bytes(), false);
        let bytes = text.as_bytes();
        for (mark, _) in bytes
            .iter()
            .enumerate()
            .filter(|(_, byte)| matches!(byte, b'=' | b':'))
        {
            let name = name_before(bytes, mark);
            if !name.is_empty() && self.is_sensitive_field(&bytes[name]) {
                let start =
                    mark + 1 + count(&bytes[mark + 1..], |byte| matches!(byte, b' ' | b'\t'));
                let end = start
                    + count(&bytes[start..], |byte| {
                        !matches!(byte, b'\r' | b'\n' | b'&' | b';' | b',')
                    });
                self.found.push(start..end);
            }
        }
        super::merge(&mut self.found);
        self.write(text, out);
    }

    /// XML and HTML: elements and attributes by name, everything by shape.
    fn mask_markup(&mut self, text: &str, out: &mut String) {
        let mut rest = text;
        while let Some(open) = memchr(b'<', rest.as_bytes()) {
            let close = tag_length(&rest[open..]);
            self.mask_text(&rest[..open], out);
            let tag = &rest[open..open + close];
            self.mask_tag(tag, out);
            rest = &rest[open + close..];
            let name = &tag[1..1 + count(&tag.as_bytes()[1..], is_name_byte)];
            let has_value = !name.is_empty() && tag.ends_with('>') && !tag.ends_with("/>");
            if has_value && self.is_sensitive_field(local_name(name).as_bytes()) {
                out.push_str(MASK);
                rest = &rest[element_length(rest, name)..];
            }
        }
        self.mask_text(rest, out);
    }

    /// `<input name="csrf_token" value="…">` and `<user password="…">`.
    fn mask_tag(&mut self, tag: &str, out: &mut String) {
        let attributes = attributes(tag.as_bytes());
        let about_secret = attributes.iter().any(|(name, value)| {
            let name = &tag.as_bytes()[name.clone()];
            (name.eq_ignore_ascii_case(b"name") || name.eq_ignore_ascii_case(b"id"))
                && self.is_sensitive_field(&tag.as_bytes()[value.clone()])
        });
        self.find_in(tag.as_bytes(), false);
        for (name, value) in attributes {
            let name = &tag.as_bytes()[name];
            let is_value =
                name.eq_ignore_ascii_case(b"value") || name.eq_ignore_ascii_case(b"content");
            if about_secret && is_value || self.is_sensitive_field(name) {
                self.found.push(value);
            }
        }
        super::merge(&mut self.found);
        self.write(tag, out);
    }
}

fn count(bytes: &[u8], accepts: impl Fn(u8) -> bool) -> usize {
    bytes.iter().take_while(|&&byte| accepts(byte)).count()
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80 || matches!(byte, b'_' | b'-' | b'.' | b':')
}

/// The word before `mark`, quotes and blanks in between allowed.
fn name_before(bytes: &[u8], mark: usize) -> Range<usize> {
    let gap = bytes[..mark]
        .iter()
        .rev()
        .take_while(|&&byte| matches!(byte, b' ' | b'\t' | b'"' | b'\''))
        .count();
    let end = mark - gap;
    let is_word = |byte: u8| is_name_byte(byte) && byte != b':';
    let start = end
        - bytes[..end]
            .iter()
            .rev()
            .take_while(|&&byte| is_word(byte))
            .count();
    start..end
}

fn local_name(name: &str) -> &str {
    name.rsplit(':').next().unwrap_or(name)
}

/// Length of the tag at the beginning, quoted `>` aside; the rest when it has no end.
fn tag_length(text: &str) -> usize {
    let mut quote = None;
    for (at, byte) in text.bytes().enumerate() {
        match (quote, byte) {
            (None, b'>') => return at + 1,
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), _) if open == byte => quote = None,
            _ => {}
        }
    }
    text.len()
}

/// Length of an element's content: up to its end tag, or all when that is missing.
fn element_length(text: &str, name: &str) -> usize {
    let mut at = 0;
    while let Some(found) = text[at..].find("</") {
        if text[at + found + 2..].starts_with(name) {
            return at + found;
        }
        at += found + 2;
    }
    text.len()
}

/// Places of the attributes' names and values in a tag.
fn attributes(tag: &[u8]) -> Vec<(Range<usize>, Range<usize>)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(equals) = memchr(b'=', &tag[at..]).map(|offset| at + offset) {
        let name = name_before(tag, equals);
        let mut start = equals + 1 + count(&tag[equals + 1..], |byte| byte.is_ascii_whitespace());
        let end = match tag.get(start) {
            Some(&quote @ (b'"' | b'\'')) => {
                start += 1;
                start + count(&tag[start..], |byte| byte != quote)
            }
            _ => {
                start
                    + count(&tag[start..], |byte| {
                        !byte.is_ascii_whitespace() && byte != b'>'
                    })
            }
        };
        found.push((name, start..end));
        at = end.max(equals + 1);
    }
    found
}

/// Replaces the last word: where a text was cut, it may be the beginning of a secret.
fn mask_tail(out: &mut String) {
    let is_boundary = |c: char| {
        c.is_whitespace()
            || matches!(
                c,
                '"' | '\'' | '&' | ',' | ';' | '<' | '>' | '{' | '[' | ':' | '='
            )
    };
    let start = out.rfind(is_boundary).map_or(0, |at| {
        at + out[at..].chars().next().map_or(1, char::len_utf8)
    });
    let tail = &out[start..];
    // groups of digits: a card number's beginning is more than its last word
    let digits = out
        .bytes()
        .rev()
        .take_while(|&byte| byte.is_ascii_digit() || matches!(byte, b' ' | b'-'))
        .count();
    let start = if tail.bytes().any(|byte| byte.is_ascii_digit()) {
        start.min(out.len() - digits)
    } else {
        start
    };
    if start < out.len() && &out[start..] != MASK {
        out.truncate(start);
        out.push_str(MASK);
    }
}

/// A forgiving walk over JSON text.
struct Json<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Json<'a> {
    fn mask(mut self, privacy: &mut Privacy, out: &mut String) {
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
    fn mask_by_key(mut self, privacy: &mut Privacy, out: &mut String) {
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
        super::merge(&mut privacy.found);
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

#[cfg(test)]
mod tests {
    use super::super::{Privacy, PrivacySettings};
    use super::BodyKind;

    fn masked(content_type: &str, body: &str) -> String {
        let kind = BodyKind::of(content_type).expect("a textual type");
        let mut out = String::new();
        Privacy::new(&PrivacySettings::default()).mask_body(
            kind,
            body.as_bytes(),
            true,
            4096,
            &mut out,
        );
        out
    }

    #[test]
    fn json_is_masked_by_key_and_by_shape() {
        for (body, expected) in [
            (
                r#"{"user":"a","password" : "x\"y"}"#,
                r#"{"user":"a","password" : "***"}"#,
            ),
            (
                r#"{"my_token":[1,{"a":"b]"}],"b":2}"#,
                r#"{"my_token":"***","b":2}"#,
            ),
            (r#"{"secret":12.5e3}"#, r#"{"secret":"***"}"#),
            (
                r#"{"pass\u0077ord":null,"n":1}"#,
                r#"{"pass\u0077ord":"***","n":1}"#,
            ),
            (r#"{"m":"jane\u0040example.org"}"#, r#"{"m":"***"}"#),
            (r#"{"m":"a\\\"jane@example.org"}"#, r#"{"m":"a\\\"***"}"#),
            (r#"{"card":4111111111111111}"#, r#"{"card":"***"}"#),
            (
                r#"{"url":"http://h/?token=abc&x=1"}"#,
                r#"{"url":"http://h/?token=***&x=1"}"#,
            ),
            (r#"{"password":"cut off"#, r#"{"password":"***""#),
            (r#"[1, true, "x", {}]"#, r#"[1, true, "x", {}]"#),
            (r#"{"password":{"a":"#, r#"{"password":"***""#),
        ] {
            assert_eq!(
                masked("application/json; charset=utf-8", body),
                expected,
                "{body}"
            );
        }
    }

    #[test]
    fn forms_are_masked() {
        assert_eq!(
            masked(
                "application/x-www-form-urlencoded",
                "a=1&pass%77ord=x%20y&m=jane%40example.org&c=4111+1111+1111+1111"
            ),
            "a=1&pass%77ord=***&m=***&c=***"
        );
    }

    #[test]
    fn markup_is_masked() {
        for (body, expected) in [
            (
                "<a><password>x</password><b>y</b></a>",
                "<a><password>***</password><b>y</b></a>",
            ),
            (
                "<u:Token xmlns:u='x'><![CDATA[z]]><i/></u:Token>",
                "<u:Token xmlns:u='x'>***</u:Token>",
            ),
            (
                r#"<user password="x" name='n'/>"#,
                r#"<user password="***" name='n'/>"#,
            ),
            (
                r#"<input name="csrf_token" value="x">"#,
                r#"<input name="csrf_token" value="***">"#,
            ),
            ("<p>mail jane@example.org</p>", "<p>mail ***</p>"),
            ("<secret>cut", "<secret>***"),
        ] {
            assert_eq!(masked("text/xml", body), expected);
        }
    }

    #[test]
    fn plain_text_is_masked() {
        assert_eq!(
            masked("text/plain", "user=a password = b c\ntoken: d\nx: y"),
            "user=a password = ***\ntoken: ***\nx: y"
        );
        assert_eq!(
            masked("text/plain", r#"{"secret":"x"}"#),
            r#"{"secret":"***"}"#
        );
    }

    #[test]
    fn types_that_are_not_text_have_no_kind() {
        for content_type in [
            "image/png",
            "application/octet-stream",
            "multipart/form-data; boundary=x",
            "",
        ] {
            assert_eq!(BodyKind::of(content_type), None);
        }
        assert_eq!(
            BodyKind::of("Application/Problem+JSON"),
            Some(BodyKind::Json)
        );
    }

    #[test]
    fn the_end_of_a_cut_body_is_masked() {
        let mut privacy = Privacy::new(&PrivacySettings::default());
        let mut out = String::new();
        for (body, expected) in [
            ("see 4111 1111 1111 11", "see***"),
            ("mail jane.doe", "mail ***"),
            ("done ", "done "),
        ] {
            privacy.mask_body(BodyKind::Text, body.as_bytes(), false, 256, &mut out);
            assert_eq!(out, expected);
        }
        privacy.mask_body(BodyKind::Text, "ääää".as_bytes(), true, 3, &mut out);
        assert_eq!(out, "ä");
    }
}
