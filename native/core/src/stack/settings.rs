//! What a run of the stack tracer is asked to do, and its kernel half.

use std::time::Duration;

use crate::decode::PrivacySettings;
use crate::functions::Scope;
use crate::object::Filter;

/// `MAX_USER_FRAMES` of `bpf/include/stack_records.h`.
pub const MAX_USER_FRAMES: u32 = 1024;

/// Settings of a stack session.
#[derive(Clone, Debug)]
pub struct StackSettings {
    /// The object file made from `bpf/stack_tracer.bpf.c`.
    pub object_path: std::path::PathBuf,
    pub filter: Filter,
    /// Take samples.
    pub samples: bool,
    /// Samples per second and CPU.
    pub frequency_hz: u32,
    /// Functions to trace, as `--trace-function` names them.
    pub functions: Vec<String>,
    /// For whose files they are looked up.
    pub scope: Scope,
    /// Tell each call of them; else they are counted only.
    pub call_events: bool,
    pub kernel_stacks: bool,
    pub user_stacks: bool,
    /// Keep both parts of a stack that was taken in the kernel.
    pub mixed_stacks: bool,
    /// Walk user stacks by unwind tables; else by frame pointers.
    pub by_tables: bool,
    /// Measure where threads wait as well.
    pub off_cpu: bool,
    /// User frames per stack, at most [`MAX_USER_FRAMES`].
    pub max_depth: u32,
    /// Distinct stacks held between two reports.
    pub stacks_held: usize,
    /// How often stacks are told.
    pub interval: Duration,
    /// On demand: how long samples are held for a capture; `None`: they are told every `interval`.
    pub keep: Option<Duration>,
    /// What of strings in arguments is masked.
    pub privacy: PrivacySettings,
    /// Size of the ring in bytes, a power of two.
    pub ring_bytes: u32,
    /// Size of the ring for calls, likewise.
    pub call_ring_bytes: u32,
}

impl StackSettings {
    /// What one sample on a CPU stands for.
    pub fn period_ns(&self) -> u64 {
        1_000_000_000 / u64::from(self.frequency_hz.max(1))
    }

    /// `struct stack_settings` of `bpf/stack_tracer.bpf.c`.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(40);
        bytes.extend(self.filter.self_pid.to_ne_bytes());
        bytes.extend([
            u8::from(self.filter.enabled),
            u8::from(!self.filter.names.is_empty()),
            u8::from(self.kernel_stacks),
            u8::from(self.user_stacks),
            u8::from(self.mixed_stacks),
            u8::from(self.off_cpu),
        ]);
        bytes.extend([u8::from(self.by_tables), u8::from(self.call_events)]);
        bytes.extend(self.max_depth.clamp(1, MAX_USER_FRAMES).to_ne_bytes());
        bytes.extend(u64::from(self.ring_bytes).to_ne_bytes());
        bytes.extend(self.period_ns().to_ne_bytes());
        bytes.extend(u64::from(self.call_ring_bytes).to_ne_bytes());
        bytes
    }
}
