//! What a user writes to name functions.

use crate::error::{Error, ErrorKind, Result};

/// One argument of `--trace-function`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Spec {
    User { file: FileName, symbol: String },
}

/// How a user names the file of a function.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum FileName {
    /// An absolute path.
    Path(String),
    /// `libc`, `nginx`: one of those that the targets have mapped.
    Base(String),
    /// Any that the targets have mapped.
    Any,
}

const FORMS: &str = "write u:/path:symbol, u:library:symbol, k:function, t:category:tracepoint or usdt:/path:provider:probe";

impl Spec {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let (kind, rest) = text
            .split_once(':')
            .ok_or_else(|| wrong(text, "it does not say where the function is"))?;
        match kind {
            "u" => Ok(Self::user(rest)),
            _ => Err(wrong(text, format!("nothing is named by {kind}:"))),
        }
    }

    fn user(rest: &str) -> Self {
        let (file, symbol) = match single_colon(rest) {
            Some(at) => (FileName::new(&rest[..at]), &rest[at + 1..]),
            None if rest.starts_with('/') => (FileName::new(rest), ""),
            None => (FileName::Any, rest),
        };
        Self::User {
            file,
            symbol: symbol.to_owned(),
        }
    }
}

impl FileName {
    fn new(text: &str) -> Self {
        match text {
            "" | "*" => Self::Any,
            path if path.starts_with('/') => Self::Path(path.to_owned()),
            name => Self::Base(name.to_owned()),
        }
    }
}

/// The first `:` that is not part of `::`.
fn single_colon(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    (0..bytes.len()).find(|&at| {
        bytes[at] == b':' && bytes.get(at + 1) != Some(&b':') && (at == 0 || bytes[at - 1] != b':')
    })
}

fn wrong(text: &str, cause: impl Into<String>) -> Error {
    Error::new(
        ErrorKind::Usage,
        format!("cannot understand the function {text:?}"),
        cause.into(),
        FORMS,
    )
}
