//! The packet tracer's session; see `_native.pyi`.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use universal_tracer_core::xdp::session;
use universal_tracer_core::xdp::settings::{Mode, XdpSettings};

use crate::errors::to_python;
use crate::session::{Tick, frames};
use crate::settings::{get, item, privacy_settings};

/// One run of the packet tracer.
#[pyclass(frozen, module = "universal_tracer._native")]
pub(crate) struct XdpSession(Mutex<session::XdpSession>);

impl XdpSession {
    fn lock(&self) -> MutexGuard<'_, session::XdpSession> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl XdpSession {
    #[new]
    fn new(py: Python<'_>, settings: &Bound<'_, PyDict>) -> PyResult<Self> {
        let settings = xdp_settings(settings)?;
        let session = py
            .detach(|| session::XdpSession::new(settings))
            .map_err(to_python)?;
        Ok(Self(Mutex::new(session)))
    }

    fn plan(&self) -> Vec<HashMap<&'static str, String>> {
        self.lock().plan().iter().cloned().map(plan_row).collect()
    }

    fn attach(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.lock().attach()).map_err(to_python)
    }

    fn add_process(&self, py: Python<'_>, pid: u32) -> PyResult<()> {
        py.detach(|| self.lock().add_process(pid))
            .map_err(to_python)
    }

    fn live_targets(&self) -> Vec<u32> {
        Vec::new()
    }

    fn tick(&self, py: Python<'_>, wait_ms: u64) -> PyResult<Tick> {
        let tick = py
            .detach(|| self.lock().tick(Duration::from_millis(wait_ms)))
            .map_err(to_python)?;
        let batches = [
            ("flow", tick.collected.flow),
            ("interface", tick.collected.interface),
            ("network", tick.collected.network),
            ("packet", tick.packets.events),
            ("capture", tick.packets.capture),
        ];
        Ok(Tick {
            frames: frames(py, batches)?,
            losses: tick.collected.losses,
            hits: tick.hits.into_iter().collect(),
            complete_until_ns: tick.complete_until_ns,
            notes: tick.collected.notes,
        })
    }

    fn stop(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.lock().stop()).map_err(to_python)
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.stop(py)
    }
}

fn plan_row(hook: session::XdpHook) -> HashMap<&'static str, String> {
    HashMap::from([
        ("tracer", "xdp".to_owned()),
        ("hook", hook.hook),
        ("adapter", hook.adapter.to_owned()),
        ("why", hook.why),
        ("cost", hook.cost.to_owned()),
    ])
}

pub(crate) fn xdp_settings(dict: &Bound<'_, PyDict>) -> PyResult<XdpSettings> {
    let mode: Option<String> = get(dict, "mode")?;
    let nanoseconds = |key| get::<u64>(dict, key).map(Duration::from_nanos);
    Ok(XdpSettings {
        object_path: get(dict, "object_path")?,
        interfaces: get(dict, "interfaces")?,
        processes: get(dict, "processes")?,
        waits: get(dict, "waits")?,
        mode: mode.map(|name| {
            if name == "native" {
                Mode::Native
            } else {
                Mode::Generic
            }
        }),
        egress: get(dict, "egress")?,
        flow_table_size: get(dict, "flow_table_size")?,
        flow_timeout: nanoseconds("flow_timeout_ns")?,
        sampling: get(dict, "sampling")?,
        filter: get(dict, "filter")?,
        detect_payload: get(dict, "detect_payload")?,
        track_flows: get(dict, "track_flows")?,
        packet_events: get(dict, "packet_events")?,
        capture_bytes: get(dict, "capture_bytes")?,
        privacy: privacy_settings(item(dict, "privacy")?.cast::<PyDict>()?)?,
        interval: nanoseconds("interval_ns")?,
        ring_bytes: get(dict, "ring_bytes")?,
    })
}
