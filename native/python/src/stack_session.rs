//! The stack tracer's session.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use universal_tracer_core::settings::CgroupId;
use universal_tracer_core::stack;

use crate::errors::to_python;
use crate::session::{Tick, frames, plan_rows};
use crate::settings::stack_settings;

/// One run of the stack tracer; see `_native.pyi`.
#[pyclass(frozen, module = "universal_tracer._native")]
pub(crate) struct StackSession(Mutex<stack::StackSession>);

impl StackSession {
    fn lock(&self) -> MutexGuard<'_, stack::StackSession> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl StackSession {
    #[new]
    fn new(py: Python<'_>, settings: &Bound<'_, PyDict>) -> PyResult<Self> {
        let settings = stack_settings(settings)?;
        let session = py
            .detach(|| stack::StackSession::new(settings))
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

    fn live_targets(&self, py: Python<'_>) -> Vec<u32> {
        py.detach(|| self.lock().live_targets())
    }

    fn tick(&self, py: Python<'_>, wait_ms: u64) -> PyResult<Tick> {
        let tick = py
            .detach(|| self.lock().tick(Duration::from_millis(wait_ms)))
            .map_err(to_python)?;
        Ok(Tick {
            frames: frames(py, [("profile", tick.profile)])?,
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
