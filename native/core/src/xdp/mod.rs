//! The XDP tracer: what packets, flows and interfaces show.

pub mod capture;
pub mod filter;
pub mod payload;
