//! The XDP tracer's parts, without interfaces.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod capture;
mod expressions;
mod filter;
mod filter_in_kernel;
mod frames;
mod libpcap;
mod machine;
mod payload;
mod payload_tshark;
