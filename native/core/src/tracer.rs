//! What the sessions of all tracers have in common: what their caller does, and what a tick brings.

use std::time::Duration;

use arrow_array::RecordBatch;

use crate::error::Result;
use crate::object::CgroupId;
use crate::plan::PlannedHook;

/// One hook that a session attaches to, or would.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HookRow {
    pub tracer: &'static str,
    pub hook: String,
    pub adapter: &'static str,
    pub why: String,
    pub cost: &'static str,
}

impl From<&PlannedHook> for HookRow {
    fn from(hook: &PlannedHook) -> Self {
        Self {
            tracer: hook.tracer,
            hook: hook.hook.to_owned(),
            adapter: hook.adapter,
            why: hook.why.to_owned(),
            cost: hook.cost,
        }
    }
}

/// What came since the tick before.
#[derive(Debug, Default)]
pub struct TickBatches {
    /// By event type; `None` where there are no rows.
    pub batches: Vec<(&'static str, Option<RecordBatch>)>,
    /// (place, count), only where something was lost.
    pub losses: Vec<(&'static str, u64)>,
    /// (what, count since the start).
    pub hits: Vec<(&'static str, u64)>,
    /// Everything that ended before this Unix time is in this or an earlier tick.
    pub complete_until_ns: i64,
    /// What the user has to know: one line each.
    pub notes: Vec<String>,
}

/// A tracer's session, in the order in which it is used.
pub trait Session {
    /// The hooks, those of targets last.
    fn plan(&self) -> Vec<HookRow>;

    /// Loads, attaches and begins to drain.
    ///
    /// # Errors
    /// Where the kernel refuses, or a target is gone; nothing stays attached then.
    fn attach(&mut self) -> Result<()>;

    /// Processes that were named and still run.
    fn live_targets(&self) -> Vec<u32>;

    /// Traces `pid` and its descendants from now on.
    ///
    /// # Errors
    /// Where there is no such process, or no room for one more.
    fn add_target(&mut self, pid: u32) -> Result<()>;

    /// Traces who is born into the group, or moves there, from now on; not who is there already.
    ///
    /// # Errors
    /// Where there is no room for one more.
    fn add_cgroup(&mut self, group: CgroupId) -> Result<()>;

    /// Waits up to `wait` for what came since the last tick.
    ///
    /// # Errors
    /// Where the session is not attached, or the kernel's counters cannot be read.
    fn tick(&mut self, wait: Duration) -> Result<TickBatches>;

    /// Detaches and drains; one more tick returns the rest.
    ///
    /// # Errors
    /// Where a thread of the session has failed.
    fn stop(&mut self) -> Result<()>;
}
