//! Traced functions: their entries and exits as events, and their number and latency as counts.
//!
//! [`crate::functions`] finds the functions, [`attach`] puts programs there, [`tables`] tells the programs how to read
//! arguments, [`pair`] gives an exit what its entry knew, [`report`] makes events, [`counts`] reads the kernel's sums.

pub(crate) mod adapter;
pub(crate) mod attach;
pub(crate) mod collect;
pub(crate) mod counts;
pub(crate) mod pair;
pub mod record;
pub(crate) mod report;
pub(crate) mod tables;
pub(crate) mod trial;
mod values;
