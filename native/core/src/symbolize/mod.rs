//! Addresses to names: which object an address is in ([`process`], [`objects`]), and which functions are there
//! ([`names`]).
//!
//! A process may be gone before its addresses are named. So what belongs to the process (its mappings, open files of
//! its objects) is taken when it is first seen, and everything else when it is needed, in bulk, and kept.

pub mod names;
pub mod objects;
mod perf_map;
pub mod process;
mod vdso;

pub use names::{Frame, FrameKind, Names};
pub use objects::{ObjectFile, Objects};
pub(crate) use process::Region;
pub use process::{Backing, Image, Mapping};
