//! `--filter`: a pcap expression in the kernel.
//!
//! ```text
//! 'tcp port 80' ── libpcap ──▶ classic BPF ── translate ──▶ eBPF ── install ──▶ object ──▶ kernel
//! ```
//!
//! The object has two functions with nothing but room in them (`bpf/include/xdp_filter.h`); the translated
//! expression is written into them before the object is loaded.

pub mod classic;
mod emit;
mod install;
mod libpcap;
mod place;
pub mod translate;

use crate::error::{Error, ErrorKind, Result};

pub use emit::Instruction;
pub use translate::Hook;

/// An expression, compiled.
#[derive(Clone, Debug)]
pub struct Filter {
    expression: String,
    classic: Vec<classic::Instruction>,
}

impl Filter {
    /// Compiles `expression` for Ethernet frames. Looks names of hosts up where the expression has some.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] for a wrong expression, with the place of the fault; [`ErrorKind::Failed`] where
    /// libpcap is not installed.
    pub fn compile(expression: &str) -> Result<Self> {
        let classic = libpcap::compile(expression)?;
        if classic.iter().any(classic::Instruction::goes_back) {
            return Err(has_loop());
        }
        let filter = Self {
            expression: expression.to_owned(),
            classic,
        };
        for hook in [Hook::Xdp, Hook::Tc] {
            filter.translated(hook)?;
        }
        Ok(filter)
    }

    /// As the user wrote it.
    pub fn expression(&self) -> &str {
        &self.expression
    }

    /// Classic BPF, as libpcap made it.
    pub fn classic(&self) -> &[classic::Instruction] {
        &self.classic
    }

    /// The body of a function that takes the hook's context and returns 1 for frames that match, else 0.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] where it is longer than the room in the object.
    pub fn translated(&self, hook: Hook) -> Result<Vec<Instruction>> {
        translate::translate(&self.classic, hook)
            .filter(|body| body.len() <= install::ROOM)
            .ok_or_else(|| {
                too_long(&format!(
                    "it takes {} steps of classic BPF",
                    self.classic.len()
                ))
            })
    }

    /// Writes the expression into the bytes of an object file.
    ///
    /// # Errors
    /// [`ErrorKind::Failed`] where the object has no room of this kind.
    pub fn install(&self, object: &mut [u8]) -> Result<()> {
        for (function, hook) in [("filter_xdp", Hook::Xdp), ("filter_tc", Hook::Tc)] {
            install::write_body(object, function, &self.translated(hook)?)?;
        }
        Ok(())
    }
}

fn too_long(cause: &str) -> Error {
    Error::new(
        ErrorKind::Usage,
        "the filter expression is too long",
        cause,
        "name networks instead of hosts, port ranges instead of ports",
    )
}

/// Only `protochain` makes loops.
fn has_loop() -> Error {
    Error::new(
        ErrorKind::Usage,
        "the filter expression cannot run in the kernel",
        "protochain follows a chain of headers of any length",
        "name the protocol itself: tcp, udp, proto NUMBER",
    )
}
