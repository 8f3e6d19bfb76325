//! The tracer's core, without any Python in it.

pub mod columns;
pub mod decode;
pub mod records;
