//! The tracer's core, without any Python in it.
//!
//! [`session`] owns everything that is in the kernel: it plans, loads, attaches,
//! and drains the ring into a [`decode::HttpDecoder`], which turns socket
//! operations into events and these into Arrow [`columns`].
//! [`stack`] does the same for samples of stacks, which [`symbolize`] names.

mod advice;
mod budget;
pub mod calls;
pub mod clock;
pub mod columns;
pub mod decode;
mod drain;
pub mod error;
pub mod functions;
pub mod json;
mod kernel_types;
mod layout;
pub mod leftovers;
pub mod local_addresses;
mod losses;
mod mapped_array;
mod object;
pub mod panics;
pub mod plan;
pub mod records;
mod ring;
pub mod session;
pub mod settings;
mod socket_adapter;
pub mod stack;
pub mod symbolize;
mod targets;
pub mod tracer;
pub mod trial;
pub mod unwind;
mod verifier_log;
pub mod xdp;
