//! The HTTP/1 decoder from the outside: records in, events out.

mod bodies;
mod connections;
mod endings;
mod gaps;
mod hostile;
mod plain;
mod policies;
mod privacy;
mod properties;
mod streams;
mod support;
mod tracing;
