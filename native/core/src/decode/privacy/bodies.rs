//! Masking of bodies, by the notation that they are in.

use std::ops::Range;

use memchr::{memchr, memchr2};

use super::json::Json;
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
            BodyKind::Json if self.calm => Json::new(&text).mask_by_key(self, out),
            BodyKind::Json => Json::new(&text).mask(self, out),
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

pub(super) fn count(bytes: &[u8], accepts: impl Fn(u8) -> bool) -> usize {
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
