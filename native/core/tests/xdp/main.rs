//! The XDP tracer's parts, without interfaces.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod payload;
