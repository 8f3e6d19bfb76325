//! Names whose values are secret: of header fields, query and form fields, JSON keys.

use regex::{RegexSet, RegexSetBuilder};

/// Memory that a user's regular expressions may take when compiled.
const REGEX_BYTES: usize = 1 << 20;

/// Header fields that carry credentials whatever the configuration's patterns say.
const SENSITIVE_HEADERS: [&str; 12] = [
    "authorization",
    "proxy-authorization",
    "authentication-info",
    "proxy-authentication-info",
    "cookie",
    "cookie2",
    "set-cookie",
    "set-cookie2",
    "x-api-key",
    "x-auth-token",
    "x-amz-security-token",
    "x-csrf-token",
];

/// Parts of header names that speak of credentials.
const SENSITIVE_HEADER_PARTS: [&str; 5] = ["password", "token", "secret", "api-key", "apikey"];

/// Query and form fields that are credentials or signatures by convention of cloud providers.
const SENSITIVE_FIELDS: [&str; 12] = [
    "awsaccesskeyid",
    "signature",
    "sig",
    "x-goog-signature",
    "x-goog-credential",
    "x-amz-signature",
    "x-amz-credential",
    "x-amz-security-token",
    "api_key",
    "apikey",
    "access_key",
    "private_key",
];

/// Tells by name whether a value is to be masked.
#[derive(Debug)]
pub(super) struct SensitiveNames {
    mask_headers: bool,
    mask_known_fields: bool,
    parts: Vec<String>,
    expressions: RegexSet,
    lower: String,
}

impl SensitiveNames {
    /// `patterns` as in the configuration: parts of names, or `/regular expression/`. An
    /// expression that does not compile is taken literally, so that it hides rather too little
    /// than nothing; the configuration refuses it long before.
    pub(super) fn new(patterns: &[String], mask_headers: bool, mask_known_fields: bool) -> Self {
        let mut parts = Vec::new();
        let mut expressions = Vec::new();
        for pattern in patterns.iter().filter(|pattern| !pattern.is_empty()) {
            let inner = pattern
                .strip_prefix('/')
                .and_then(|rest| rest.strip_suffix('/'));
            match inner.filter(|inner| compile(&[*inner]).is_some()) {
                Some(inner) => expressions.push(inner),
                None => parts.push(inner.unwrap_or(pattern).to_lowercase()),
            }
        }
        parts.retain(|part| !part.is_empty());
        let expressions = compile(&expressions).unwrap_or_default();
        Self {
            mask_headers,
            mask_known_fields,
            parts,
            expressions,
            lower: String::new(),
        }
    }

    /// Whether the value of the header field `name` is masked.
    pub(super) fn header(&mut self, name: &str) -> bool {
        self.set_lower(name);
        let lower = self.lower.as_str();
        let by_kind = self.mask_headers
            && (SENSITIVE_HEADERS.contains(&lower)
                || SENSITIVE_HEADER_PARTS
                    .iter()
                    .any(|part| lower.contains(part)));
        by_kind || self.by_pattern(name)
    }

    /// Whether the value of the query field, form field or JSON key `name` is masked.
    pub(super) fn field(&mut self, name: &str) -> bool {
        self.set_lower(name);
        let by_kind = self.mask_known_fields && SENSITIVE_FIELDS.contains(&self.lower.as_str());
        by_kind || self.by_pattern(name)
    }

    fn by_pattern(&self, name: &str) -> bool {
        self.parts
            .iter()
            .any(|part| self.lower.contains(part.as_str()))
            || (!self.expressions.is_empty() && self.expressions.is_match(name))
    }

    fn set_lower(&mut self, name: &str) {
        self.lower.clear();
        if name.is_ascii() {
            self.lower.push_str(name);
            self.lower.make_ascii_lowercase();
        } else {
            self.lower.extend(name.chars().flat_map(char::to_lowercase));
        }
    }
}

/// `None` when an expression is wrong or too large.
fn compile(expressions: &[&str]) -> Option<RegexSet> {
    RegexSetBuilder::new(expressions)
        .case_insensitive(true)
        .size_limit(REGEX_BYTES)
        .build()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(patterns: &[&str]) -> SensitiveNames {
        let patterns: Vec<String> = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        SensitiveNames::new(&patterns, true, true)
    }

    #[test]
    fn header_names_are_known_by_kind_and_by_part() {
        let mut names = names(&[]);
        for name in [
            "Authorization",
            "COOKIE",
            "Set-Cookie",
            "X-Api-Key",
            "X-My-Token-2",
            "client-SECRET",
        ] {
            assert!(names.header(name), "{name}");
        }
        for name in ["Host", "Accept", "X-Request-Id", "Cookie-Policy"] {
            assert!(!names.header(name), "{name}");
        }
    }

    #[test]
    fn patterns_are_parts_without_regard_to_case() {
        let mut names = names(&["PassWord", "ÄPFEL"]);
        assert!(names.field("old_password_2") && names.field("PASSWORD") && names.field("äpfel"));
        assert!(!names.field("pass_word"));
    }

    #[test]
    fn expressions_are_searched_in_names() {
        let mut names = names(&["/^card[0-9]+$/", "/(/"]);
        assert!(names.field("CARD12") && !names.field("card") && !names.field("mycard1"));
        assert!(
            names.field("a(b"),
            "an expression that does not compile is literal text"
        );
    }

    #[test]
    fn an_endless_expression_is_taken_literally() {
        let mut names = names(&["/(a{1000}){1000}/"]);
        assert!(!names.field("aaaa"));
    }

    #[test]
    fn masking_of_headers_can_be_switched_off() {
        let mut names = SensitiveNames::new(&["token".to_owned()], false, false);
        assert!(!names.header("Authorization") && names.header("X-Token") && !names.field("sig"));
    }
}
