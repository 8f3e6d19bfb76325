//! Where a thread gave up: remembered instead of printed, for the report that a bug leaves.
//!
//! Messages of panics may hold what a program sent; places in the sources do not.

use std::sync::{Mutex, PoisonError};

/// More of them say nothing new.
const KEPT: usize = 20;

static PLACES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Remembers from now on instead of printing.
pub fn remember() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map_or_else(|| "unknown".to_owned(), ToString::to_string);
        let mut places = PLACES.lock().unwrap_or_else(PoisonError::into_inner);
        if places.len() < KEPT {
            places.push(place);
        }
    }));
}

/// As FILE:LINE:COLUMN, the first of them.
pub fn places() -> Vec<String> {
    PLACES
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
}

#[cfg(test)]
mod tests {
    use super::{places, remember};

    #[test]
    fn the_place_is_remembered_and_the_message_is_not() {
        let before = std::panic::take_hook();
        remember();
        let ended = std::thread::spawn(|| panic!("secret")).join();
        std::panic::set_hook(before);
        assert!(ended.is_err());
        let places = places();
        assert!(places.iter().any(|place| place.contains("panics.rs:")));
        assert!(!places.iter().any(|place| place.contains("secret")));
    }
}
