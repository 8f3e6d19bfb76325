//! The core's errors as one Python exception.

use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use universal_tracer_core::error::Error;

create_exception!(
    universal_tracer._native,
    NativeError,
    PyException,
    "An error of the native core: args are (what, cause, hint), `kind` is privilege, kernel, target, usage or failed, `log` has what the kernel said in full."
);

/// The exception that carries the core's error.
pub(crate) fn to_python(error: Error) -> PyErr {
    let (kind, log) = (error.kind.name(), error.log);
    let exception = NativeError::new_err((error.what, error.cause, error.hint));
    Python::attach(|py| {
        let value = exception.value(py);
        match value
            .setattr("kind", kind)
            .and_then(|()| value.setattr("log", log))
        {
            Ok(()) => exception.clone_ref(py),
            Err(failed) => failed,
        }
    })
}
