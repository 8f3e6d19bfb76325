//! The session and its ticks.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arrow_array::RecordBatch;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use universal_tracer_core::plan::PlannedHook;
use universal_tracer_core::session;
use universal_tracer_core::settings::CgroupId;

use crate::arrow::ArrowBatch;
use crate::errors::to_python;
use crate::settings::{AddressTuple, http_settings, local_addresses};

/// One run of the HTTP tracer; see `_native.pyi`.
#[pyclass(frozen, module = "universal_tracer._native")]
pub(crate) struct HttpSession(Mutex<session::HttpSession>);

impl HttpSession {
    fn lock(&self) -> MutexGuard<'_, session::HttpSession> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl HttpSession {
    #[new]
    fn new(py: Python<'_>, settings: &Bound<'_, PyDict>) -> PyResult<Self> {
        let settings = http_settings(settings)?;
        let session = py
            .detach(|| session::HttpSession::new(settings))
            .map_err(to_python)?;
        Ok(Self(Mutex::new(session)))
    }

    fn plan(&self) -> Vec<HashMap<&'static str, &'static str>> {
        plan_rows(self.lock().plan())
    }

    fn attach(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.lock().attach()).map_err(to_python)
    }

    fn add_target(&self, py: Python<'_>, pid: u32) -> PyResult<()> {
        py.detach(|| self.lock().add_target(pid)).map_err(to_python)
    }

    fn add_cgroup(&self, py: Python<'_>, hierarchy: u32, identifier: u64) -> PyResult<()> {
        let group = CgroupId {
            hierarchy,
            id: identifier,
        };
        py.detach(|| self.lock().add_cgroup(group))
            .map_err(to_python)
    }

    fn set_local_addresses(&self, py: Python<'_>, addresses: Vec<AddressTuple>) -> PyResult<()> {
        let addresses = local_addresses(addresses);
        py.detach(|| self.lock().set_local_addresses(&addresses))
            .map_err(to_python)
    }

    fn live_targets(&self, py: Python<'_>) -> Vec<u32> {
        py.detach(|| self.lock().live_targets())
    }

    fn tick(&self, py: Python<'_>, wait_ms: u64) -> PyResult<Tick> {
        let tick = py
            .detach(|| self.lock().tick(Duration::from_millis(wait_ms)))
            .map_err(to_python)?;
        let batches = [
            ("http", tick.decoded.http),
            ("connection", tick.decoded.connection),
        ];
        Ok(Tick {
            frames: frames(py, batches)?,
            losses: tick.losses,
            hits: tick.hits.into_iter().collect(),
            complete_until_ns: tick.complete_until_ns,
            notes: Vec::new(),
        })
    }

    fn stop(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.lock().stop()).map_err(to_python)
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.stop(py)
    }
}

/// What was decoded since the tick before; the same for every tracer.
#[pyclass(frozen, get_all, module = "universal_tracer._native")]
pub(crate) struct Tick {
    /// A batch by event type, only where there are rows.
    pub(crate) frames: HashMap<&'static str, Py<ArrowBatch>>,
    pub(crate) losses: Vec<(&'static str, u64)>,
    pub(crate) hits: HashMap<&'static str, u64>,
    pub(crate) complete_until_ns: i64,
    /// What the user has to know, a line each.
    pub(crate) notes: Vec<String>,
}

/// The batches that there are, for Python.
pub(crate) fn frames(
    py: Python<'_>,
    batches: impl IntoIterator<Item = (&'static str, Option<RecordBatch>)>,
) -> PyResult<HashMap<&'static str, Py<ArrowBatch>>> {
    batches
        .into_iter()
        .filter_map(|(name, batch)| Some((name, batch?)))
        .map(|(name, batch)| Ok((name, Py::new(py, ArrowBatch::new(batch))?)))
        .collect()
}

/// A plan's rows for Python: tracer, hook, adapter, why, cost.
pub(crate) fn plan_rows(plan: &[PlannedHook]) -> Vec<HashMap<&'static str, &'static str>> {
    plan.iter()
        .map(|hook| {
            HashMap::from([
                ("tracer", hook.tracer),
                ("hook", hook.hook),
                ("adapter", hook.adapter),
                ("why", hook.why),
                ("cost", hook.cost),
            ])
        })
        .collect()
}
