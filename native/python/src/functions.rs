//! What could be traced; see `_native.pyi`.

use std::path::PathBuf;

use pyo3::prelude::*;
use universal_tracer_core::functions::{self, Argument, Function, Scope};

use crate::errors::to_python;

/// (name, type, whether it can be read).
type ArgumentRow = (Option<String>, &'static str, bool);
/// (place, spec, function, symbol, module, aliases, arguments, result, note).
type FunctionRow = (
    &'static str,
    String,
    String,
    String,
    String,
    Vec<String>,
    Vec<ArgumentRow>,
    Option<&'static str>,
    Option<String>,
);

#[pyfunction]
pub(crate) fn list_functions(
    py: Python<'_>,
    specs: Vec<String>,
    pids: Vec<u32>,
    program: Option<PathBuf>,
) -> PyResult<Vec<FunctionRow>> {
    let scope = Scope { pids, program };
    let found = py
        .detach(|| functions::list(&specs, &scope))
        .map_err(to_python)?;
    Ok(found.into_iter().map(row).collect())
}

fn row(function: Function) -> FunctionRow {
    let argument = |argument: &Argument| {
        let kind = argument.kind.name();
        (argument.name.clone(), kind, argument.is_readable())
    };
    let spec = function.spec();
    (
        function.place.name(),
        spec,
        function.name,
        function.symbol,
        function.module,
        function.aliases,
        function.arguments.iter().map(argument).collect(),
        function.result.map(|result| result.name()),
        function.note,
    )
}
