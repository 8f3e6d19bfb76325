//! Names with `*`, `?` and `[...]`, and the nearest name to one that does not exist.

/// A name as a user writes it: an exact one first, a glob where nothing bears it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Pattern {
    text: String,
    tokens: Vec<Token>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Token {
    Char(char),
    One,
    Many,
    /// Ranges, and whether they are what must not be there.
    Set(Vec<(char, char)>, bool),
}

impl Pattern {
    /// An empty text means any name.
    pub(super) fn new(text: &str) -> Self {
        let text = if text.is_empty() { "*" } else { text };
        Self {
            text: text.to_owned(),
            tokens: tokens(text),
        }
    }

    pub(super) fn any() -> Self {
        Self::new("*")
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn is_any(&self) -> bool {
        self.text == "*"
    }

    pub(super) fn is_glob(&self) -> bool {
        self.tokens
            .iter()
            .any(|token| !matches!(token, Token::Char(_)))
    }

    /// In time proportional to name times pattern at most.
    pub(super) fn matches(&self, name: &str) -> bool {
        let name: Vec<char> = name.chars().collect();
        let (mut at, mut token) = (0, 0);
        // where to go on when what follows the last `*` does not fit
        let mut retry: Option<(usize, usize)> = None;
        loop {
            match self.tokens.get(token) {
                Some(Token::Many) => {
                    token += 1;
                    retry = Some((token, at));
                }
                Some(one) if name.get(at).is_some_and(|&char| one.fits(char)) => {
                    token += 1;
                    at += 1;
                }
                None if at == name.len() => return true,
                _ => match retry {
                    Some((after_star, from)) if from < name.len() => {
                        retry = Some((after_star, from + 1));
                        (token, at) = (after_star, from + 1);
                    }
                    _ => return false,
                },
            }
        }
    }
}

impl Token {
    fn fits(&self, char: char) -> bool {
        match self {
            Self::Char(own) => *own == char,
            Self::One => true,
            Self::Many => false,
            Self::Set(ranges, negated) => {
                ranges
                    .iter()
                    .any(|&(low, high)| low <= char && char <= high)
                    != *negated
            }
        }
    }
}

fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&char) = chars.get(at) {
        at += 1;
        let token = match char {
            '*' => Token::Many,
            '?' => Token::One,
            '[' => match set(&chars[at..]) {
                Some((set, length)) => {
                    at += length;
                    set
                }
                // as in a shell, a bracket that nothing closes is one
                None => Token::Char('['),
            },
            other => Token::Char(other),
        };
        if !(token == Token::Many && tokens.last() == Some(&Token::Many)) {
            tokens.push(token);
        }
    }
    tokens
}

/// What follows a `[`, and how long that is.
fn set(chars: &[char]) -> Option<(Token, usize)> {
    let negated = matches!(chars.first(), Some('!' | '^'));
    let start = usize::from(negated);
    // a `]` right at the begin is one of the set
    let end = start
        + 1
        + chars
            .get(start + 1..)?
            .iter()
            .position(|&char| char == ']')?;
    let mut ranges = Vec::new();
    let mut rest = &chars[start..end];
    while let [low, tail @ ..] = rest {
        match tail {
            ['-', high, tail @ ..] => {
                ranges.push((*low, *high));
                rest = tail;
            }
            _ => {
                ranges.push((*low, *low));
                rest = tail;
            }
        }
    }
    Some((Token::Set(ranges, negated), end + 1))
}

/// Longer names are not compared.
const MAX_COMPARED: usize = 256;

/// The known name that `wanted` most resembles; `None` where none is close.
pub(super) fn closest<'a>(
    wanted: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let wanted: Vec<char> = wanted.chars().take(MAX_COMPARED + 1).collect();
    let mut best = None;
    // a third of the name may differ, four letters at most
    let mut bound = (wanted.len() / 3).min(4);
    if wanted.len() > MAX_COMPARED {
        return None;
    }
    for name in known {
        if bound == 0 {
            break;
        }
        if let Some(distance) = distance(&wanted, name, bound)
            && distance > 0
        {
            best = Some(name);
            bound = distance - 1;
        }
    }
    best
}

/// ` (did you mean X?)`, or nothing.
pub(super) fn did_you_mean<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    closest(wanted, known).map_or_else(String::new, |name| format!(" (did you mean {name}?)"))
}

/// Letters to insert, remove, replace or swap with their neighbours; `None` when more than `bound`.
fn distance(wanted: &[char], name: &str, bound: usize) -> Option<usize> {
    if name.len() > 4 * MAX_COMPARED || name.len() + bound < wanted.len() {
        return None;
    }
    let name: Vec<char> = name.chars().collect();
    if name.len().abs_diff(wanted.len()) > bound {
        return None;
    }
    let mut before_last = vec![0; name.len() + 1];
    let mut last: Vec<usize> = (0..=name.len()).collect();
    for (row, &ours) in wanted.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, &theirs) in name.iter().enumerate() {
            let is_swap =
                row > 0 && column > 0 && ours == name[column - 1] && theirs == wanted[row - 1];
            let mut cost = (last[column] + usize::from(ours != theirs))
                .min(last[column + 1] + 1)
                .min(current[column] + 1);
            if is_swap {
                cost = cost.min(before_last[column - 1] + 1);
            }
            current.push(cost);
        }
        if current.iter().all(|&cost| cost > bound) {
            return None;
        }
        before_last = std::mem::replace(&mut last, current);
    }
    last.last().copied().filter(|&distance| distance <= bound)
}

#[cfg(test)]
mod tests {
    use super::{Pattern, closest};
    use proptest::prelude::*;

    #[test]
    fn globs() {
        for (pattern, name, fits) in [
            ("mall*", "malloc", true),
            ("mall*", "mall", true),
            ("*alloc", "malloc", true),
            ("*a*c", "abcabc", true),
            ("*a*c", "abcab", false),
            ("m?lloc", "malloc", true),
            ("m?lloc", "mlloc", false),
            ("[mc]alloc", "calloc", true),
            ("[a-f]x", "ex", true),
            ("[!a-f]x", "ex", false),
            ("[]a]", "]", true),
            ("a[", "a[", true),
            ("", "anything", true),
            ("exact", "exactly", false),
            ("é?", "éa", true),
        ] {
            assert_eq!(
                Pattern::new(pattern).matches(name),
                fits,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn nearest_names() {
        let known = ["malloc", "calloc", "realloc", "free", "open"];
        assert_eq!(closest("maloc", known), Some("malloc"));
        assert_eq!(closest("mlaloc", known), Some("malloc"));
        assert_eq!(closest("reallok", known), Some("realloc"));
        assert_eq!(closest("opn", known), Some("open"));
        assert_eq!(closest("xyz", known), None);
        assert_eq!(closest("", known), None);
    }

    proptest! {
        #[test]
        fn a_glob_means_what_the_regular_expression_does(
            pattern in "[ab*?]{0,8}",
            name in "[ab]{0,12}",
        ) {
            let expression = pattern.replace('*', ".*").replace('?', ".");
            let expression = if pattern.is_empty() { ".*".to_owned() } else { expression };
            let truth = regex::Regex::new(&format!("^(?:{expression})$")).expect("it is one");
            prop_assert_eq!(Pattern::new(&pattern).matches(&name), truth.is_match(&name));
        }

        #[test]
        fn any_text_is_a_pattern(pattern in any::<String>(), name in any::<String>()) {
            let _ = Pattern::new(&pattern).matches(&name);
            let _ = closest(&pattern, [name.as_str()]);
        }
    }
}
