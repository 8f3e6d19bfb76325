//! The sessions of the tracers, and what they tell; see `_native.pyi`.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use arrow_array::RecordBatch;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use universal_tracer_core::error::Result;
use universal_tracer_core::session;
use universal_tracer_core::settings::CgroupId;
use universal_tracer_core::stack;
use universal_tracer_core::tracer::{HookRow, Session, TickBatches};
use universal_tracer_core::xdp;

use crate::arrow::ArrowBatch;
use crate::errors::to_python;
use crate::settings::{AddressTuple, http_settings, local_addresses, stack_settings, xdp_settings};

/// Runs `work` on a session, without the interpreter's lock.
fn with<S: Send, T: Send>(
    py: Python<'_>,
    session: &Mutex<S>,
    work: impl FnOnce(&mut S) -> Result<T> + Send,
) -> PyResult<T> {
    py.detach(|| work(&mut session.lock().unwrap_or_else(PoisonError::into_inner)))
        .map_err(to_python)
}

/// A class around a session of the core: what all of them can do, and `more`.
macro_rules! session_class {
    ($(#[$doc:meta])* $name:ident($session:ty), $settings:path, { $($more:tt)* }) => {
        $(#[$doc])*
        #[pyclass(frozen, module = "universal_tracer._native")]
        pub(crate) struct $name(Mutex<$session>);

        #[pymethods]
        impl $name {
            #[new]
            fn new(py: Python<'_>, settings: &Bound<'_, PyDict>) -> PyResult<Self> {
                let settings = $settings(settings)?;
                let session = py
                    .detach(|| <$session>::new(settings))
                    .map_err(to_python)?;
                Ok(Self(Mutex::new(session)))
            }

            fn plan(&self, py: Python<'_>) -> PyResult<Vec<PlanRow>> {
                let hooks = with(py, &self.0, |session| Ok(Session::plan(session)))?;
                Ok(hooks.into_iter().map(plan_row).collect())
            }

            fn attach(&self, py: Python<'_>) -> PyResult<()> {
                with(py, &self.0, Session::attach)
            }

            fn add_target(&self, py: Python<'_>, pid: u32) -> PyResult<()> {
                with(py, &self.0, |session| Session::add_target(session, pid))
            }

            fn add_cgroup(
                &self,
                py: Python<'_>,
                hierarchy: u32,
                identifier: u64,
            ) -> PyResult<()> {
                let group = CgroupId { hierarchy, id: identifier };
                with(py, &self.0, |session| Session::add_cgroup(session, group))
            }

            fn live_targets(&self, py: Python<'_>) -> PyResult<Vec<u32>> {
                with(py, &self.0, |session| Ok(Session::live_targets(session)))
            }

            fn tick(&self, py: Python<'_>, wait_ms: u64) -> PyResult<Tick> {
                let wait = Duration::from_millis(wait_ms);
                let tick = with(py, &self.0, |session| Session::tick(session, wait))?;
                Tick::new(py, tick)
            }

            fn stop(&self, py: Python<'_>) -> PyResult<()> {
                with(py, &self.0, Session::stop)
            }

            fn close(&self, py: Python<'_>) -> PyResult<()> {
                self.stop(py)
            }

            $($more)*
        }
    };
}

session_class! {
    /// One run of the HTTP tracer.
    HttpSession(session::HttpSession), http_settings, {
        fn set_local_addresses(&self, py: Python<'_>, addresses: Vec<AddressTuple>) -> PyResult<()> {
            let addresses = local_addresses(addresses);
            with(py, &self.0, |session| session.set_local_addresses(&addresses))
        }
    }
}

session_class! {
    /// One run of the stack tracer.
    StackSession(stack::StackSession), stack_settings, {
        fn capture(&self, py: Python<'_>, number: u32, cuts_ns: Vec<i64>) -> PyResult<()> {
            with(py, &self.0, |session| session.capture(number, &cuts_ns))
        }
    }
}

session_class! {
    /// One run of the packet tracer.
    XdpSession(xdp::session::XdpSession), xdp_settings, {}
}

/// What was decoded since the tick before; the same for every tracer.
#[pyclass(frozen, get_all, module = "universal_tracer._native")]
pub(crate) struct Tick {
    /// A batch by event type, only where there are rows.
    frames: HashMap<&'static str, Py<ArrowBatch>>,
    losses: Vec<(&'static str, u64)>,
    hits: HashMap<&'static str, u64>,
    complete_until_ns: i64,
    /// What the user has to know, a line each.
    notes: Vec<String>,
}

impl Tick {
    fn new(py: Python<'_>, tick: TickBatches) -> PyResult<Self> {
        Ok(Self {
            frames: frames(py, tick.batches)?,
            losses: tick.losses,
            hits: tick.hits.into_iter().collect(),
            complete_until_ns: tick.complete_until_ns,
            notes: tick.notes,
        })
    }
}

/// The batches that there are, for Python.
fn frames(
    py: Python<'_>,
    batches: Vec<(&'static str, Option<RecordBatch>)>,
) -> PyResult<HashMap<&'static str, Py<ArrowBatch>>> {
    batches
        .into_iter()
        .filter_map(|(name, batch)| Some((name, batch?)))
        .map(|(name, batch)| Ok((name, Py::new(py, ArrowBatch::new(batch))?)))
        .collect()
}

/// A hook for Python: tracer, hook, adapter, why, cost.
pub(crate) type PlanRow = HashMap<&'static str, String>;

pub(crate) fn plan_row(hook: HookRow) -> PlanRow {
    HashMap::from([
        ("tracer", hook.tracer.to_owned()),
        ("hook", hook.hook),
        ("adapter", hook.adapter.to_owned()),
        ("why", hook.why),
        ("cost", hook.cost.to_owned()),
    ])
}
