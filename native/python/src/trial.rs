//! Trials of tracers, and what earlier runs left in the kernel; see `_native.pyi`.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use universal_tracer_core::{leftovers, stack, trial, xdp};

use crate::errors::to_python;
use crate::session::{PlanRow, plan_row};
use crate::settings::{http_settings, stack_settings, xdp_settings};

type TriedHook = (PlanRow, Option<Py<PyAny>>);

/// What this kernel did with a tracer's programs.
#[pyclass(frozen, get_all, module = "universal_tracer._native")]
pub(crate) struct Trial {
    /// Each hook, and why it cannot be used.
    hooks: Vec<TriedHook>,
    /// (name, kind, entries, bytes, whether that is an estimate).
    tables: Vec<(String, String, u32, u64, bool)>,
    programs: Vec<String>,
    has_run: bool,
}

impl Trial {
    fn new(py: Python<'_>, trial: trial::Trial) -> Self {
        let hook = |tried: trial::TriedHook| {
            let error = tried
                .error
                .map(|error| to_python(error).into_value(py).into_any());
            (plan_row((&tried.hook).into()), error)
        };
        let table = |table: trial::Table| {
            let trial::Table {
                name,
                kind,
                entries,
                bytes,
                is_estimate,
            } = table;
            (name, kind, entries, bytes, is_estimate)
        };
        Self {
            hooks: trial.hooks.into_iter().map(hook).collect(),
            tables: trial.tables.into_iter().map(table).collect(),
            programs: trial.programs,
            has_run: trial.has_run,
        }
    }
}

#[pyfunction]
fn try_http(py: Python<'_>, settings: &Bound<'_, PyDict>) -> PyResult<Trial> {
    let settings = http_settings(settings)?;
    let tried = py.detach(|| trial::try_http(settings)).map_err(to_python)?;
    Ok(Trial::new(py, tried))
}

#[pyfunction]
fn try_xdp(py: Python<'_>, settings: &Bound<'_, PyDict>) -> PyResult<Trial> {
    let settings = xdp_settings(settings)?;
    let tried = py
        .detach(|| xdp::trial::try_xdp(settings))
        .map_err(to_python)?;
    Ok(Trial::new(py, tried))
}

#[pyfunction]
fn try_stack(py: Python<'_>, settings: &Bound<'_, PyDict>) -> PyResult<Trial> {
    let settings = stack_settings(settings)?;
    let tried = py
        .detach(|| stack::trial::try_stack(settings))
        .map_err(to_python)?;
    Ok(Trial::new(py, tried))
}

/// (id, name, interfaces by index, processes that hold it).
type FoundProgram = (u32, String, Vec<u32>, Vec<u32>);

#[pyfunction]
fn find_programs(
    py: Python<'_>,
    programs: Vec<String>,
    tables: Vec<String>,
) -> PyResult<Vec<FoundProgram>> {
    let found = py
        .detach(|| leftovers::find(&programs, &tables))
        .map_err(to_python)?;
    let row = |program: leftovers::FoundProgram| {
        (
            program.id,
            program.name,
            program.interfaces,
            program.holders,
        )
    };
    Ok(found.into_iter().map(row).collect())
}

#[pyfunction]
fn pinned_program(py: Python<'_>, path: PathBuf) -> Option<u32> {
    py.detach(|| leftovers::pinned_program(&path))
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Trial>()?;
    module.add_function(wrap_pyfunction!(try_http, module)?)?;
    module.add_function(wrap_pyfunction!(try_stack, module)?)?;
    module.add_function(wrap_pyfunction!(try_xdp, module)?)?;
    module.add_function(wrap_pyfunction!(find_programs, module)?)?;
    module.add_function(wrap_pyfunction!(pinned_program, module)?)
}
