//! Go programs: their own table of functions ([`table`]), and the places in a function's code that matter ([`code`]).

mod code;
mod table;

pub(super) use code::{Exits, exits, places};
pub(super) use table::functions;
