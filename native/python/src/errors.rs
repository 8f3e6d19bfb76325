//! The core's errors as one Python exception.

use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use universal_tracer_core::error::Error;

create_exception!(
    universal_tracer._native,
    NativeError,
    PyException,
    "An error of the native core: args are (what, cause, hint), `kind` is privilege, kernel, target or failed."
);

/// The exception that carries the core's error.
pub(crate) fn to_python(error: Error) -> PyErr {
    let kind = error.kind.name();
    let exception = NativeError::new_err((error.what, error.cause, error.hint));
    Python::attach(|py| match exception.value(py).setattr("kind", kind) {
        Ok(()) => exception.clone_ref(py),
        Err(failed) => failed,
    })
}
