//! Filter expressions, before anything else is asked for.

use pyo3::prelude::*;
use universal_tracer_core::xdp::filter::Filter;

use crate::errors::to_python;

/// Raises `NativeError` for a wrong expression.
#[pyfunction]
pub(crate) fn check_filter(py: Python<'_>, expression: &str) -> PyResult<()> {
    // names of hosts are looked up, which may take its time
    py.detach(|| Filter::compile(expression))
        .map(drop)
        .map_err(to_python)
}
