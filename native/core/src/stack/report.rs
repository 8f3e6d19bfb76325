//! Intervals of counted stacks as columns, names resolved.

use super::collect::{Interval, Stack, Weight};
use super::record::Kind;
use crate::columns::{ProfileColumns, ProfileRow};
use crate::symbolize::names::Functions;
use crate::symbolize::{Frame, FrameKind, Names};

/// Makes `profile` events.
#[derive(Debug, Default)]
pub(crate) struct Reporter {
    names: Names,
}

/// The innermost frame is where the processor was; the others are where it returns to, a byte behind the call.
fn call_site((index, address): (usize, &u64)) -> u64 {
    if index == 0 {
        *address
    } else {
        address.saturating_sub(1)
    }
}

impl Reporter {
    /// One row per stack. `unix_offset_ns`: Unix time minus CLOCK_MONOTONIC. `capture`: whose rows they are.
    pub(crate) fn report(
        &self,
        interval: &Interval,
        unix_offset_ns: i64,
        capture: Option<u32>,
        columns: &mut ProfileColumns,
    ) {
        let timestamp_ns = interval.start_ns.cast_signed() + unix_offset_ns;
        for (stack, weight) in &interval.stacks {
            self.push(timestamp_ns, stack, weight, capture, columns);
        }
    }

    /// Finds the names that are not known yet; takes as long as it takes.
    pub(crate) fn prepare<'a>(&mut self, stacks: impl Iterator<Item = &'a Stack> + Clone) {
        let user = stacks
            .clone()
            .filter_map(|stack| Some((stack.image.as_deref()?, stack.user())))
            .flat_map(|(image, frames)| {
                frames
                    .iter()
                    .enumerate()
                    .map(move |frame| (image, call_site(frame)))
            });
        let kernel = stacks.flat_map(|stack| stack.kernel().iter().enumerate().map(call_site));
        self.names.prepare(user, kernel);
    }

    fn push(
        &self,
        timestamp_ns: i64,
        stack: &Stack,
        weight: &Weight,
        capture: Option<u32>,
        columns: &mut ProfileColumns,
    ) {
        let comm = comm_text(&stack.comm);
        let row = ProfileRow {
            timestamp_ns,
            pid: stack.pid,
            tid: stack.tid,
            comm: &comm,
            kind: stack.kind.name(),
            count: weight.count,
            value_ns: weight.value_ns,
            end: stack.end.name(),
            reason: stack.end.reason(),
            capture,
        };
        let frames = self.frames(stack);
        columns.push(&row, frames.iter().flat_map(|functions| functions.iter()));
    }

    /// Root first.
    pub(crate) fn frames(&self, stack: &Stack) -> Vec<Functions> {
        let image = stack.image.as_deref();
        let user = stack.user().iter().enumerate().rev().map(call_site);
        let kernel = stack.kernel().iter().enumerate().rev().map(call_site);
        user.map(|address| self.names.user(image, address))
            .chain(kernel.map(|address| self.names.kernel(address)))
            .chain(waiting(stack))
            .collect()
    }
}

/// What a thread that waits for a CPU does, as a frame of its own: its stack is that of a running one.
fn waiting(stack: &Stack) -> Option<Functions> {
    (stack.kind == Kind::OffCpu && stack.is_run_queue).then(|| {
        Functions::from([Frame {
            name: "[waiting for a CPU]".to_owned(),
            module: None,
            file: None,
            line: None,
            inlined: false,
            kind: FrameKind::Kernel,
        }])
    })
}

pub(crate) fn comm_text(comm: &[u8]) -> String {
    let end = comm
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(comm.len());
    String::from_utf8_lossy(&comm[..end]).into_owned()
}
