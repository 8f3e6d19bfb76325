//! Frames as lines of JSON.

use arrow_array::ffi_stream::{FFI_ArrowArrayStream, RecordBatchStreamReader};
use arrow_schema::ArrowError;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyCapsule};
use universal_tracer_core::json;

/// The rows of a frame as JSON objects, a line each.
#[pyfunction]
pub(crate) fn json_lines<'py>(
    py: Python<'py>,
    frame: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyBytes>> {
    let stream = stream_of(frame)?;
    let text = py
        .detach(|| encode(stream))
        .map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok(PyBytes::new(py, &text))
}

fn stream_of(frame: &Bound<'_, PyAny>) -> PyResult<FFI_ArrowArrayStream> {
    let capsule = frame
        .call_method0("__arrow_c_stream__")?
        .cast_into::<PyCapsule>()?;
    let pointer = capsule.pointer_checked(Some(c"arrow_array_stream"))?;
    // SAFETY: a capsule of this name holds such a structure; it is moved out, a released one is left in its place
    Ok(unsafe { FFI_ArrowArrayStream::from_raw(pointer.as_ptr().cast()) })
}

fn encode(stream: FFI_ArrowArrayStream) -> Result<Vec<u8>, ArrowError> {
    let mut text = Vec::new();
    for batch in RecordBatchStreamReader::try_new(stream)? {
        json::write_rows(&batch?, &mut text)?;
    }
    Ok(text)
}
