//! Unwind tables: how to find a function's caller, for every address of a program, in a form that the kernel's part
//! can walk.
//!
//! [`compile`] turns `.eh_frame` and `.debug_frame` into sorted rows of an address and a [`rules::Rule`]; [`tables`]
//! gives them to the kernel (`bpf/include/stack_unwind.h`) within a budget of memory. [`walk`] does what the kernel could
//! not yet do.

pub mod compile;
pub mod elf;
pub mod rules;
pub(crate) mod tables;
pub mod walk;
