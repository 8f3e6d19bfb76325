//! The XDP tracer: what packets, flows and interfaces show.

pub mod payload;
