//! The tracer's core, without any Python in it.

pub mod records;
