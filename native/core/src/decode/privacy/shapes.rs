//! Secrets and personal data by shape: what they look like, wherever they stand.
//!
//! [`Shapes::may_contain`] is one quick look at a text that costs nearly nothing and says "no" to
//! almost all of them; [`Shapes::find`] then searches in earnest.

use std::ops::Range;

use aho_corasick::packed;
use memchr::{memchr, memchr_iter, memchr2_iter, memchr3, memmem};

/// Digits in a row (blanks and hyphens aside) that make a second look worth while: every card
/// number and every IBAN has as many.
const DIGIT_RUN: usize = 8;

/// Digits of a group: card numbers and IBANs are written in groups of four or more.
const DIGIT_GROUP: usize = 4;

/// Texts from this length on are searched with vectors.
const LONG_TEXT: usize = 64;

/// Keys and tokens known by how they begin: the beginning, how many characters follow at least.
const KEY_BEGINNINGS: [(&[u8], usize); 25] = [
    (b"eyJ", 10),
    (b"AKIA", 16),
    (b"ASIA", 16),
    (b"AROA", 16),
    (b"AIDA", 16),
    (b"AIza", 30),
    (b"ya29.", 20),
    (b"ghp_", 20),
    (b"gho_", 20),
    (b"ghu_", 20),
    (b"ghs_", 20),
    (b"ghr_", 20),
    (b"github_pat_", 20),
    (b"glpat-", 16),
    (b"xoxa-", 10),
    (b"xoxb-", 10),
    (b"xoxp-", 10),
    (b"xoxr-", 10),
    (b"xoxs-", 10),
    (b"sk_", 16),
    (b"rk_", 16),
    (b"pk_", 16),
    (b"sk-", 20),
    (b"SG.", 20),
    (b"npm_", 20),
];

const PRIVATE_KEY: &[u8] = b"-----BEGIN ";

/// Countries with an IBAN and its length.
const IBAN_LENGTHS: &[(&[u8; 2], usize)] = &[
    (b"AD", 24),
    (b"AE", 23),
    (b"AL", 28),
    (b"AT", 20),
    (b"AZ", 28),
    (b"BA", 20),
    (b"BE", 16),
    (b"BG", 22),
    (b"BH", 22),
    (b"BI", 27),
    (b"BR", 29),
    (b"BY", 28),
    (b"CH", 21),
    (b"CR", 22),
    (b"CY", 28),
    (b"CZ", 24),
    (b"DE", 22),
    (b"DJ", 27),
    (b"DK", 18),
    (b"DO", 28),
    (b"EE", 20),
    (b"EG", 29),
    (b"ES", 24),
    (b"FI", 18),
    (b"FK", 18),
    (b"FO", 18),
    (b"FR", 27),
    (b"GB", 22),
    (b"GE", 22),
    (b"GI", 23),
    (b"GL", 18),
    (b"GR", 27),
    (b"GT", 28),
    (b"HR", 21),
    (b"HU", 28),
    (b"IE", 22),
    (b"IL", 23),
    (b"IQ", 23),
    (b"IS", 26),
    (b"IT", 27),
    (b"JO", 30),
    (b"KW", 30),
    (b"KZ", 20),
    (b"LB", 28),
    (b"LC", 32),
    (b"LI", 21),
    (b"LT", 20),
    (b"LU", 20),
    (b"LV", 21),
    (b"LY", 25),
    (b"MC", 27),
    (b"MD", 24),
    (b"ME", 22),
    (b"MK", 19),
    (b"MN", 20),
    (b"MR", 27),
    (b"MT", 31),
    (b"MU", 30),
    (b"NI", 28),
    (b"NL", 18),
    (b"NO", 15),
    (b"OM", 23),
    (b"PK", 24),
    (b"PL", 28),
    (b"PS", 29),
    (b"PT", 25),
    (b"QA", 29),
    (b"RO", 24),
    (b"RS", 22),
    (b"RU", 33),
    (b"SA", 24),
    (b"SC", 31),
    (b"SD", 18),
    (b"SE", 24),
    (b"SI", 19),
    (b"SK", 24),
    (b"SM", 27),
    (b"SO", 23),
    (b"ST", 25),
    (b"SV", 28),
    (b"TL", 23),
    (b"TN", 24),
    (b"TR", 26),
    (b"UA", 29),
    (b"VA", 22),
    (b"VG", 24),
    (b"XK", 20),
    (b"YE", 30),
];

/// The searcher; made once.
#[derive(Debug)]
pub(super) struct Shapes {
    /// `None` on machines without the needed vector instructions.
    beginnings: Option<packed::Searcher>,
    /// The same for short texts, where the vectors are not worth their preparation.
    triples: Triples,
}

/// What may be the beginning of a secret.
fn literals() -> impl Iterator<Item = &'static [u8]> {
    let others: [&[u8]; 3] = [PRIVATE_KEY, b"earer", b"EARER"];
    KEY_BEGINNINGS
        .iter()
        .map(|(beginning, _)| *beginning)
        .chain(others)
}

/// The first three bytes of the literals: of each byte, in which of eight groups it may stand there.
#[derive(Debug)]
struct Triples([[u8; 256]; 3]);

impl Triples {
    fn new(literals: impl Iterator<Item = &'static [u8]>) -> Self {
        let mut tables = [[0; 256]; 3];
        for (number, literal) in literals.enumerate() {
            for (table, &byte) in tables.iter_mut().zip(literal) {
                table[usize::from(byte)] |= 1 << (number % 8);
            }
        }
        Self(tables)
    }

    fn may_begin(&self, three: &[u8]) -> bool {
        let groups = |place: usize| self.0[place][usize::from(three[place])];
        groups(0) & groups(1) & groups(2) != 0
    }
}

impl Shapes {
    pub(super) fn new() -> Self {
        let beginnings = packed::Config::new().builder().extend(literals()).build();
        Self {
            beginnings,
            triples: Triples::new(literals()),
        }
    }

    /// `false`: nothing is in there. `true`: [`Shapes::find`] must look (after decoding, where
    /// there is something percent-encoded; in names before `=`, where there is a URL).
    pub(super) fn may_contain(&self, text: &[u8]) -> bool {
        memchr3(b'@', b'%', b'?', text).is_some()
            || self.may_contain_key(text)
            || has_digit_run(text)
    }

    fn may_contain_key(&self, text: &[u8]) -> bool {
        match &self.beginnings {
            Some(searcher) if text.len() >= LONG_TEXT => searcher.find(text).is_some(),
            _ => text.windows(3).any(|three| self.triples.may_begin(three)),
        }
    }

    /// Appends the places of secrets in `text` to `found`, in no order.
    pub(super) fn find(&self, text: &[u8], found: &mut Vec<Range<usize>>) {
        if memchr(b'@', text).is_some() {
            find_user_info(text, found);
            find_emails(text, found);
        }
        if self.may_contain_key(text) {
            self.find_keys(text, found);
            find_bearers(text, found);
        }
        if has_digit_run(text) {
            find_cards(text, found);
            find_ibans(text, found);
        }
    }

    fn find_keys(&self, text: &[u8], found: &mut Vec<Range<usize>>) {
        let mut behind = 0;
        for (at, three) in text.windows(3).enumerate() {
            let begins = at >= behind && self.triples.may_begin(three);
            if begins && !(at > 0 && text[at - 1].is_ascii_alphanumeric()) {
                let length = key_length(&text[at..]);
                found.extend((length > 0).then_some(at..at + length));
                behind = at + length;
            }
        }
    }
}

/// Length of the key or private key that begins the text; 0: there is none.
fn key_length(text: &[u8]) -> usize {
    if text.starts_with(PRIVATE_KEY) {
        return private_key_length(text);
    }
    let key = KEY_BEGINNINGS
        .iter()
        .find(|(beginning, _)| text.starts_with(beginning));
    key.map_or(0, |(beginning, least)| {
        let length = run(text, is_token_character);
        if length >= beginning.len() + least {
            length
        } else {
            0
        }
    })
}

/// A PEM private key ends with its end line, or with the text.
fn private_key_length(text: &[u8]) -> usize {
    let label = &text[PRIVATE_KEY.len()..text.len().min(PRIVATE_KEY.len() + 40)];
    if memmem::find(label, b"PRIVATE KEY").is_none() {
        return 0;
    }
    let end = memmem::find(text, b"-----END ")
        .and_then(|end| memmem::find(&text[end + 9..], b"-----").map(|close| end + 9 + close + 5));
    end.unwrap_or(text.len())
}

/// `Bearer TOKEN`, in any case.
fn find_bearers(text: &[u8], found: &mut Vec<Range<usize>>) {
    const WORD: &[u8] = b"bearer";
    let is_gap = |byte: u8| matches!(byte, b' ' | b'+' | b'\t' | b':');
    for at in memchr2_iter(b'b', b'B', text) {
        let blank = at + WORD.len();
        if !text[at..]
            .get(..WORD.len())
            .is_some_and(|word| word.eq_ignore_ascii_case(WORD))
        {
            continue;
        }
        let gap = run(&text[blank..], is_gap);
        let start = blank + gap;
        let in_token = |byte: u8| is_token_character(byte) || matches!(byte, b'+' | b'/' | b'~');
        let end = start + run(&text[start..], in_token);
        if gap > 0 && end - start >= 6 && text.get(end) != Some(&b'"') {
            found.push(start..end);
        }
    }
}

fn run(text: &[u8], accepts: impl Fn(u8) -> bool) -> usize {
    text.iter().take_while(|&&byte| accepts(byte)).count()
}

fn run_back(text: &[u8], accepts: impl Fn(u8) -> bool) -> usize {
    text.iter().rev().take_while(|&&byte| accepts(byte)).count()
}

fn is_token_character(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'=')
}

fn is_digit_or_gap(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b' ' | b'-' | b'+')
}

/// Whether [`DIGIT_RUN`] digits stand together, blanks and hyphens between groups of
/// [`DIGIT_GROUP`] allowed. Such a group covers one of the places that are looked at.
fn has_digit_run(text: &[u8]) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit();
    let mut at = DIGIT_GROUP - 1;
    while at < text.len() {
        if is_digit(text[at]) {
            let end = at + run(&text[at..], is_digit);
            let start = at - run_back(&text[..at], is_digit);
            if end - start >= DIGIT_GROUP && digits_around(text, start, end) >= DIGIT_RUN {
                return true;
            }
            at = end;
        }
        at += DIGIT_GROUP;
    }
    false
}

/// Digits that stand together with those from `start` to `end`.
fn digits_around(text: &[u8], start: usize, end: usize) -> usize {
    let start = start - run_back(&text[..start], is_digit_or_gap);
    let end = end + run(&text[end..], is_digit_or_gap);
    text[start..end]
        .iter()
        .filter(|byte| byte.is_ascii_digit())
        .count()
}

/// `scheme://user:password@host`: what stands before the `@`.
fn find_user_info(text: &[u8], found: &mut Vec<Range<usize>>) {
    for at in memmem::find_iter(text, b"://") {
        let start = at + 3;
        let authority = run(&text[start..], |byte| {
            !matches!(
                byte,
                b'/' | b'?' | b'#' | b'"' | b'\'' | b'<' | b'>' | 0..=b' '
            )
        });
        if let Some(length) = text[start..start + authority]
            .iter()
            .rposition(|&byte| byte == b'@')
        {
            found.push(start..start + length);
        }
    }
}

fn find_emails(text: &[u8], found: &mut Vec<Range<usize>>) {
    let is_local = |byte: u8| {
        byte.is_ascii_alphanumeric() || byte >= 0x80 || b"._+-'%!#$^*|`{}~".contains(&byte)
    };
    let is_domain =
        |byte: u8| byte.is_ascii_alphanumeric() || byte >= 0x80 || matches!(byte, b'.' | b'-');
    for at in memchr_iter(b'@', text) {
        let start = at - run_back(&text[..at], is_local);
        let mut end = at + 1 + run(&text[at + 1..], is_domain);
        while end > at && matches!(text[end - 1], b'.' | b'-') {
            end -= 1;
        }
        let after_user_info = found.iter().any(|place| place.end == at);
        if start < at && !after_user_info && end > at + 1 && text[at + 1..end].contains(&b'.') {
            found.push(start..end);
        }
    }
}

/// 13 to 19 digits with a valid check digit, in groups or not.
fn find_cards(text: &[u8], found: &mut Vec<Range<usize>>) {
    let mut at = 0;
    while at < text.len() {
        if !text[at].is_ascii_digit() {
            at += 1;
            continue;
        }
        let at_group = at == 0 || !text[at - 1].is_ascii_alphanumeric();
        match card_length(&text[at..]).filter(|_| at_group) {
            Some(length) => {
                found.push(at..at + length);
                at += length;
            }
            None => at += run(&text[at..], |byte| byte.is_ascii_digit()),
        }
    }
}

/// Length of the longest card number that begins with the first byte and ends with a group.
fn card_length(text: &[u8]) -> Option<usize> {
    let mut digits = [0u8; 19];
    let mut count = 0;
    let mut longest = None;
    for (at, &byte) in text.iter().enumerate() {
        if byte.is_ascii_digit() {
            if count == digits.len() {
                break;
            }
            digits[count] = byte - b'0';
            count += 1;
            let next = text.get(at + 1).copied().unwrap_or(b' ');
            if count >= 13 && !next.is_ascii_alphanumeric() && is_card(&digits[..count]) {
                longest = Some(at + 1);
            }
        } else if !matches!(byte, b' ' | b'-' | b'+')
            || !text.get(at + 1).is_some_and(u8::is_ascii_digit)
        {
            break;
        }
    }
    longest
}

fn is_card(digits: &[u8]) -> bool {
    // milli-, micro- and nanoseconds since 1970, as they are in so many URLs
    let is_time = matches!(digits.len(), 13 | 16 | 19) && digits[0] == 1 && digits[1] >= 5;
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, &digit)| {
            let value = u32::from(digit) << (place % 2);
            if value > 9 { value - 9 } else { value }
        })
        .sum();
    !is_time && sum.is_multiple_of(10) && digits.iter().any(|&digit| digit != 0)
}

/// Country, two digits, and as many letters and digits as that country has; in groups or not.
fn find_ibans(text: &[u8], found: &mut Vec<Range<usize>>) {
    for at in 0..text.len().saturating_sub(14) {
        if text[at].is_ascii_alphabetic() && (at == 0 || !text[at - 1].is_ascii_alphanumeric()) {
            found.extend(iban_length(&text[at..]).map(|length| at..at + length));
        }
    }
}

fn iban_length(text: &[u8]) -> Option<usize> {
    let country = [text[0].to_ascii_uppercase(), text[1].to_ascii_uppercase()];
    let &(_, wanted) = IBAN_LENGTHS.iter().find(|(code, _)| **code == country)?;
    if !text[2].is_ascii_digit() || !text[3].is_ascii_digit() {
        return None;
    }
    let mut count = 0;
    for (at, &byte) in text.iter().enumerate() {
        if byte.is_ascii_alphanumeric() {
            count += 1;
            if count == wanted {
                return (!text.get(at + 1).is_some_and(u8::is_ascii_alphanumeric))
                    .then_some(at + 1);
            }
        } else if !(matches!(byte, b' ' | b'-' | b'+') && count % 4 == 0) {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let shapes = Shapes::new();
        let mut places = Vec::new();
        shapes.find(text.as_bytes(), &mut places);
        assert!(
            places.is_empty() || shapes.may_contain(text.as_bytes()),
            "the quick look missed {text}"
        );
        places
            .into_iter()
            .map(|place| text[place].to_owned())
            .collect()
    }

    #[test]
    fn secrets_are_found() {
        for (text, secret) in [
            (
                "mail jane.doe+x@mail.example.org now",
                "jane.doe+x@mail.example.org",
            ),
            ("to:müller@exämple.de", "müller@exämple.de"),
            ("https://jane:pa%20ss@host/x", "jane:pa%20ss"),
            (
                "t=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln&x",
                "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
            ),
            ("authorization: BEARER abc.def-123 x", "abc.def-123"),
            ("key AKIAIOSFODNN7EXAMPLE.", "AKIAIOSFODNN7EXAMPLE."),
            (
                "ghp_0123456789abcdefghij0123456789abcdef",
                "ghp_0123456789abcdefghij0123456789abcdef",
            ),
            ("pay 4111 1111 1111 1111 now", "4111 1111 1111 1111"),
            ("pay 2024 4111-1111-1111-1111", "4111-1111-1111-1111"),
            ("378282246310005", "378282246310005"),
            ("1234567812345670", "1234567812345670"),
            ("iban DE89370400440532013000!", "DE89370400440532013000"),
            ("GB29 NWBK 6016 1331 9268 19", "GB29 NWBK 6016 1331 9268 19"),
            ("de89370400440532013000", "de89370400440532013000"),
            (
                "x -----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY----- y",
                "-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----",
            ),
            (
                "-----BEGIN PRIVATE KEY-----\nMIIcut",
                "-----BEGIN PRIVATE KEY-----\nMIIcut",
            ),
        ] {
            assert_eq!(found(text), [secret], "{text}");
        }
    }

    #[test]
    fn look_alikes_are_left() {
        for text in [
            "Mon, 23 Nov 2026 12:34:56 GMT",
            "4111111111111112",
            "1700000000003",
            "41111111111111111111111",
            "user@localhost",
            "@handle and foo@",
            "Bearer realm=\"x\"",
            "the bearer of",
            "eyJ",
            "DE8937040044053201300",
            "0000000000000000",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/120.0.0.0",
            "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----",
        ] {
            assert_eq!(found(text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn the_quick_look_passes_plain_heads() {
        let shapes = Shapes::new();
        assert!(
            !shapes.may_contain(b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nAccept: */*\r\n\r\n")
        );
        assert!(
            !shapes
                .may_contain(b"Date: Mon, 23 Nov 2026 12:34:56 GMT\r\nContent-Length: 1234567\r\n")
        );
    }
}
