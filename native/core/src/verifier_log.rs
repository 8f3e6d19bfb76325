//! libbpf's messages, kept so that an error can quote the last useful line.

use std::sync::{Mutex, PoisonError};

use libbpf_rs::{PrintLevel, set_print};

const KEPT_LINES: usize = 200;

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Keeps warnings from now on instead of printing them.
pub(crate) fn capture() {
    set_print(Some((PrintLevel::Warn, keep)));
}

#[expect(clippy::needless_pass_by_value, reason = "the signature is libbpf's")]
fn keep(_level: PrintLevel, message: String) {
    let mut lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    lines.extend(message.lines().map(str::to_owned));
    let excess = lines.len().saturating_sub(KEPT_LINES);
    lines.drain(..excess);
}

/// The last line that says why, and how many others there were; forgets them.
pub(crate) fn take() -> String {
    let lines = std::mem::take(&mut *LINES.lock().unwrap_or_else(PoisonError::into_inner));
    let useful = |line: &&String| {
        !line.trim().is_empty()
            && !line.starts_with("processed ")
            && !line.contains("-- END")
            && !line.contains("failed to load")
    };
    match lines.iter().rev().find(useful) {
        Some(line) if lines.len() > 1 => {
            format!("{} ({} lines omitted)", line.trim(), lines.len() - 1)
        }
        Some(line) => line.trim().to_owned(),
        None => String::new(),
    }
}
