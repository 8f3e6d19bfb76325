//! The Python module `universal_tracer._native`: glue around `universal_tracer_core`, nothing else.
//!
//! Calls that wait or take over a millisecond release the interpreter lock.

mod arrow;
mod errors;
mod filter;
mod functions;
mod json;
mod session;
mod settings;
mod trial;

use pyo3::prelude::*;
use universal_tracer_core::panics;

#[pyfunction]
#[pyo3(name = "panics")]
fn panic_places() -> Vec<String> {
    panics::places()
}

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    panics::remember();
    module.add_function(wrap_pyfunction!(panic_places, module)?)?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("NativeError", module.py().get_type::<errors::NativeError>())?;
    module.add_function(wrap_pyfunction!(filter::check_filter, module)?)?;
    module.add_function(wrap_pyfunction!(functions::list_functions, module)?)?;
    module.add_function(wrap_pyfunction!(json::json_lines, module)?)?;
    module.add_class::<arrow::ArrowBatch>()?;
    module.add_class::<session::HttpSession>()?;
    module.add_class::<session::StackSession>()?;
    module.add_class::<session::Tick>()?;
    module.add_class::<session::XdpSession>()?;
    trial::register(module)
}
