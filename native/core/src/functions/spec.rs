//! What a user writes to name functions.

use super::pattern::Pattern;
use crate::error::{Error, ErrorKind, Result};

/// One argument of `--trace-function`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Spec {
    User {
        file: FileName,
        symbol: Pattern,
    },
    /// A name beside its module (`*` where none is said).
    Kernel {
        module: Pattern,
        name: Pattern,
    },
    Tracepoint {
        category: Pattern,
        name: Pattern,
    },
    Usdt {
        file: FileName,
        provider: Pattern,
        name: Pattern,
    },
}

/// How a user names the file of a function.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum FileName {
    /// An absolute path.
    Path(String),
    /// `libc`, `nginx`: one of those that the targets run.
    Base(String),
    /// Any that the targets run.
    Any,
}

const FORMS: &str = "write u:/path:symbol, u:library:symbol, k:function, t:category:tracepoint or usdt:/path:provider:probe";

impl Spec {
    pub(super) fn parse(text: &str) -> Result<Self> {
        if text.contains('\0') {
            return Err(wrong(text, "a zero byte is part of no name"));
        }
        let (kind, rest) = text
            .split_once(':')
            .ok_or_else(|| wrong(text, "it does not say where the function is"))?;
        let parts: Vec<&str> = rest.split(':').collect();
        match (kind, parts.as_slice()) {
            ("u", _) => Self::user(text, rest),
            ("k", [name]) => Ok(Self::Kernel {
                module: Pattern::any(),
                name: Pattern::new(name),
            }),
            ("k", [module, name]) => Ok(Self::Kernel {
                module: Pattern::new(module),
                name: Pattern::new(name),
            }),
            ("t", [name]) => Ok(Self::Tracepoint {
                category: Pattern::any(),
                name: Pattern::new(name),
            }),
            ("t", [category, name]) => Ok(Self::Tracepoint {
                category: Pattern::new(category),
                name: Pattern::new(name),
            }),
            ("usdt", [.., _]) => Self::usdt(text, rest),
            ("k" | "t", _) => Err(wrong(text, format!("too many colons behind {kind}:"))),
            _ => Err(wrong(text, format!("nothing is named by {kind}:"))),
        }
    }

    fn user(text: &str, rest: &str) -> Result<Self> {
        let (file, symbol) = split_file(rest);
        Ok(Self::User {
            file: FileName::new(text, file)?,
            symbol: Pattern::new(symbol),
        })
    }

    /// `/path:provider:name`, `/path:name`, `library:provider:name`, `provider:name`, `name`.
    fn usdt(text: &str, rest: &str) -> Result<Self> {
        let (file, probe) = match (rest.starts_with('/'), rest.matches(':').count()) {
            (true, _) | (false, 2..) => split_file(rest),
            _ => ("", rest),
        };
        let (provider, name) = match probe.split_once(':') {
            Some((provider, name)) => (Pattern::new(provider), Pattern::new(name)),
            None => (Pattern::any(), Pattern::new(probe)),
        };
        Ok(Self::Usdt {
            file: FileName::new(text, file)?,
            provider,
            name,
        })
    }
}

impl FileName {
    fn new(text: &str, name: &str) -> Result<Self> {
        match name {
            "" | "*" => Ok(Self::Any),
            path if path.starts_with('/') => Ok(Self::Path(path.to_owned())),
            path if path.contains('/') => Err(wrong(text, "a path begins with /")),
            name => Ok(Self::Base(name.to_owned())),
        }
    }
}

/// Splits at the first colon that is not part of `::`; one behind which a path goes on belongs to the path. Without a
/// colon a path is a whole file, and anything else a name.
fn split_file(rest: &str) -> (&str, &str) {
    let bytes = rest.as_bytes();
    let is_path = bytes.first() == Some(&b'/');
    let separator = (0..bytes.len()).find(|&at| {
        bytes[at] == b':'
            && bytes.get(at + 1) != Some(&b':')
            && (at == 0 || bytes[at - 1] != b':')
            && !(is_path && goes_on(&rest[at..]))
    });
    match separator {
        Some(at) => (&rest[..at], &rest[at + 1..]),
        None if is_path => (rest, "*"),
        None => ("", rest),
    }
}

/// Whether there is one more part of a path, as in `/a:b/c:symbol`; slashes in Go's names come behind a letter and a
/// dot, as in `/program:example.com/package.Function`.
fn goes_on(rest: &str) -> bool {
    let next = rest[1..].split(':').next().unwrap_or_default();
    next.contains('/') && rest[1..].contains(':') && !next.contains('.')
}

fn wrong(text: &str, cause: impl Into<String>) -> Error {
    Error::new(
        ErrorKind::Usage,
        format!("cannot understand the function {text:?}"),
        cause.into(),
        FORMS,
    )
}

#[cfg(test)]
mod tests {
    use super::{FileName, Spec};
    use crate::error::ErrorKind;
    use crate::functions::pattern::Pattern;

    fn user(text: &str) -> (FileName, String) {
        match Spec::parse(text) {
            Ok(Spec::User { file, symbol }) => (file, symbol.text().to_owned()),
            other => panic!("{text}: {other:?}"),
        }
    }

    fn path(text: &str) -> FileName {
        FileName::Path(text.to_owned())
    }

    #[test]
    fn files_and_symbols() {
        let base = FileName::Base("libc".to_owned());
        for (text, file, symbol) in [
            ("u:/bin/sh:main", path("/bin/sh"), "main"),
            ("u:/bin/sh", path("/bin/sh"), "*"),
            ("u:/bin/sh:", path("/bin/sh"), "*"),
            ("u:/bin/sh:ns::f", path("/bin/sh"), "ns::f"),
            ("u:/bin/sh:ns::*", path("/bin/sh"), "ns::*"),
            ("u:/a:b/c:f", path("/a:b/c"), "f"),
            ("u:/a:example.com/p.F", path("/a"), "example.com/p.F"),
            ("u:libc:malloc", base.clone(), "malloc"),
            ("u:libc:std::f", base, "std::f"),
            ("u:malloc", FileName::Any, "malloc"),
            ("u:ns::f", FileName::Any, "ns::f"),
            ("u:*:malloc", FileName::Any, "malloc"),
        ] {
            assert_eq!(user(text), (file, symbol.to_owned()), "{text}");
        }
    }

    #[test]
    fn kernel_tracepoints_and_probes() {
        let (any, f) = (Pattern::any(), Pattern::new("f"));
        let kernel = |module: &Pattern, name: &Pattern| Spec::Kernel {
            module: module.clone(),
            name: name.clone(),
        };
        assert_eq!(Spec::parse("k:f").ok(), Some(kernel(&any, &f)));
        assert_eq!(
            Spec::parse("k:nft:f").ok(),
            Some(kernel(&Pattern::new("nft"), &f))
        );
        assert_eq!(Spec::parse("k:").ok(), Some(kernel(&any, &any)));
        let tracepoint = Spec::Tracepoint {
            category: any.clone(),
            name: f.clone(),
        };
        assert_eq!(Spec::parse("t:f").ok(), Some(tracepoint));
        for (text, file, provider) in [
            ("usdt:/lib/x:p:f", path("/lib/x"), "p"),
            ("usdt:/lib/x:f", path("/lib/x"), "*"),
            ("usdt:x:p:f", FileName::Base("x".to_owned()), "p"),
            ("usdt:p:f", FileName::Any, "p"),
            ("usdt:f", FileName::Any, "*"),
        ] {
            let spec = Spec::Usdt {
                file,
                provider: Pattern::new(provider),
                name: f.clone(),
            };
            assert_eq!(Spec::parse(text).ok(), Some(spec), "{text}");
        }
    }

    #[test]
    fn what_names_nothing() {
        for text in [
            "", "malloc", "x:malloc", "t:a:b:c", "k:a:b:c", "u:./a:f", "u:a\0b",
        ] {
            let error = Spec::parse(text).expect_err(text);
            assert_eq!(error.kind, ErrorKind::Usage, "{text}");
            assert!(error.hint.contains("u:/path:symbol"));
        }
    }
}
