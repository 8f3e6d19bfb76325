//! Where in an expression the fault is: libpcap says what is wrong, but not where.

use std::ops::Range;

/// What may follow a beginning that is not wrong yet; one of these makes it an expression.
const ENDINGS: [&str; 14] = [
    "",
    " 1",
    " tcp",
    " host 1.2.3.4",
    " port 1",
    " 1.2.3.4",
    " net 1.2.3.0/24",
    " 00:00:00:00:00:00",
    " = 1",
    " ] = 1",
    " 1 ] = 1",
    " 1 = 1",
    " -2",
    " ::1",
];
/// Parentheses that may be open.
const DEPTH: usize = 8;
/// Words that are tried; in longer expressions the place is not looked for.
const WORDS: usize = 256;

/// The library's words, with the place of the fault. `compile` gives its words against another text.
pub(super) fn cause(
    expression: &str,
    said: &str,
    compile: impl Fn(&str) -> Option<String>,
) -> String {
    let said = said.trim_start_matches("can't parse filter expression: ");
    let words = words(expression);
    let found = if is_syntax(said) {
        first_wrong(expression, &words, compile)
    } else {
        named(expression, said)
    };
    match found {
        Some(place) => marked(expression, said, &place),
        None if is_syntax(said) => format!("{said} at the end of it"),
        None => said.to_owned(),
    }
}

fn is_syntax(said: &str) -> bool {
    said.contains("syntax error") || said.contains("illegal")
}

fn marked(expression: &str, said: &str, place: &Range<usize>) -> String {
    let column = expression[..place.start].chars().count() + 1;
    let word = &expression[place.clone()];
    format!("{said} at {word:?}, character {column}")
}

/// The first word that cannot stand where it stands.
fn first_wrong(
    expression: &str,
    words: &[Range<usize>],
    compile: impl Fn(&str) -> Option<String>,
) -> Option<Range<usize>> {
    let is_beginning = |text: &str| {
        ENDINGS.iter().any(|ending| {
            (0..=DEPTH).any(|depth| {
                let said = compile(&format!("{text}{ending}{}", " )".repeat(depth)));
                // what is wrong for another reason than its form has a right form
                said.is_none_or(|said| !is_syntax(&said))
            })
        })
    };
    words
        .iter()
        .take(WORDS)
        .find(|word| !is_beginning(&expression[..word.end]))
        .cloned()
}

/// The word of the expression that the library quotes or ends with.
fn named(expression: &str, said: &str) -> Option<Range<usize>> {
    let quoted = said.split(['\'', '"']).nth(1);
    let last = said.rsplit([' ', ':']).next();
    quoted
        .into_iter()
        .chain(last)
        .filter(|word| word.len() > 1)
        .find_map(|word| expression.find(word).map(|at| at..at + word.len()))
}

/// Words and signs, as libpcap's scanner separates them.
fn words(expression: &str) -> Vec<Range<usize>> {
    let is_word = |character: char| character.is_alphanumeric() || "._:-/\\".contains(character);
    let mut words: Vec<Range<usize>> = Vec::new();
    let mut before = None;
    for (at, character) in expression.char_indices() {
        let end = at + character.len_utf8();
        let joins = is_word(character) && before.is_some_and(is_word);
        match words.last_mut() {
            Some(word) if joins => word.end = end,
            _ if character.is_whitespace() => {}
            _ => words.push(at..end),
        }
        before = Some(character);
    }
    words
}
