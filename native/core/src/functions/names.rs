//! Names of functions, as linkers have them and as people read them.

use std::borrow::Cow;
use std::fmt::{self, Write};

use super::pattern::Pattern;

/// A short mangled name can stand for a text of any length.
const MAX_DEMANGLED: usize = 4096;

/// Text up to a length; more is an error.
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() + text.len() > MAX_DEMANGLED {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

/// As stacks name it: with parameters for C++, without the hash for Rust.
pub(super) fn demangled(symbol: &str) -> Cow<'_, str> {
    match rust(symbol).or_else(|| cpp(symbol, cpp_demangle::DemangleOptions::new())) {
        Some(name) => Cow::Owned(name),
        None => Cow::Borrowed(symbol),
    }
}

fn rust(symbol: &str) -> Option<String> {
    let demangled = rustc_demangle::try_demangle(symbol).ok()?;
    let mut text = Bounded(String::new());
    write!(text, "{demangled:#}").ok()?;
    Some(text.0)
}

fn cpp(symbol: &str, options: cpp_demangle::DemangleOptions) -> Option<String> {
    if !symbol.starts_with("_Z") || symbol.len() > MAX_DEMANGLED {
        return None;
    }
    let parsed = cpp_demangle::Symbol::new(symbol).ok()?;
    let mut text = Bounded(String::new());
    parsed.structured_demangle(&mut text, &options).ok()?;
    Some(text.0)
}

/// What a user may call a function, beside its symbol.
fn other_names(symbol: &str, wanted: &Pattern) -> Vec<String> {
    if !(symbol.starts_with("_Z") || symbol.starts_with("_R")) {
        return Vec::new();
    }
    if let Some(name) = rust(symbol) {
        return vec![name];
    }
    let options = cpp_demangle::DemangleOptions::new();
    let short = cpp(symbol, options.no_params().no_return_type());
    if !wanted.text().contains('(') {
        return short.into_iter().collect();
    }
    let whole = cpp(symbol, cpp_demangle::DemangleOptions::new());
    let no_result = cpp(
        symbol,
        cpp_demangle::DemangleOptions::new().no_return_type(),
    );
    [short, whole, no_result].into_iter().flatten().collect()
}

/// Whether a symbol is exactly what the user wrote.
pub(super) fn is_named(symbol: &str, version: Option<&str>, wanted: &Pattern) -> bool {
    let text = wanted.text();
    if symbol == text {
        return true;
    }
    if let (Some(version), Some((name, asked))) = (version, text.split_once('@')) {
        return name == symbol && asked.trim_start_matches('@') == version;
    }
    other_names(symbol, wanted).iter().any(|name| name == text)
}

/// Whether a symbol matches what the user wrote, as a glob.
pub(super) fn matches(symbol: &str, wanted: &Pattern) -> bool {
    wanted.matches(symbol)
        || other_names(symbol, wanted)
            .iter()
            .any(|name| wanted.matches(name))
}

#[cfg(test)]
mod tests {
    use super::{demangled, is_named, matches};
    use crate::functions::pattern::Pattern;

    const CPP: &str = "_ZN2ns1fIiEEvT_Pc";
    const RUST: &str = "_ZN4core3ptr4read17h0123456789abcdefE";

    #[test]
    fn names_that_people_read() {
        assert_eq!(demangled(CPP), "void ns::f<int>(int, char*)");
        assert_eq!(demangled(RUST), "core::ptr::read");
        assert_eq!(demangled("malloc"), "malloc");
        assert_eq!(demangled("_Zwrong"), "_Zwrong");
    }

    #[test]
    fn a_function_is_named_mangled_or_not() {
        for text in [
            CPP,
            "ns::f<int>",
            "ns::f<int>(int, char*)",
            "void ns::f<int>(int, char*)",
        ] {
            assert!(is_named(CPP, None, &Pattern::new(text)), "{text}");
        }
        assert!(!is_named(CPP, None, &Pattern::new("ns::f")));
        assert!(matches(CPP, &Pattern::new("ns::*")));
        assert!(is_named(RUST, None, &Pattern::new("core::ptr::read")));
    }

    #[test]
    fn versions() {
        let old = Some("GLIBC_2.2.5");
        assert!(is_named("memcpy", old, &Pattern::new("memcpy@GLIBC_2.2.5")));
        assert!(is_named(
            "memcpy",
            old,
            &Pattern::new("memcpy@@GLIBC_2.2.5")
        ));
        assert!(!is_named("memcpy", old, &Pattern::new("memcpy@GLIBC_2.14")));
        assert!(is_named("memcpy", old, &Pattern::new("memcpy")));
    }

    #[test]
    fn a_name_that_would_grow_without_end_stays_as_it_is() {
        // each S_ doubles what it stands for
        let mut symbol = "_Z1f1AIiiE".to_owned();
        for step in 0..40 {
            let before = if step == 0 {
                "S_".to_owned()
            } else {
                format!("S{}_", base36(step - 1))
            };
            symbol.push_str(&format!("1AI{before}{before}E"));
        }
        assert!(demangled(&symbol).len() <= super::MAX_DEMANGLED.max(symbol.len()));
    }

    fn base36(number: u32) -> char {
        char::from_digit(number, 36).map_or('Z', |digit| digit.to_ascii_uppercase())
    }
}
