//! Record batches for Python by the Arrow C data interface: no copy, no import of pyarrow.

use arrow_array::ffi::to_ffi;
use arrow_array::{Array, RecordBatch, StructArray};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

/// One batch of rows; `polars.DataFrame(batch)` takes it over without copying.
#[pyclass(frozen, module = "universal_tracer._native")]
pub(crate) struct ArrowBatch(RecordBatch);

impl ArrowBatch {
    pub(crate) fn new(batch: RecordBatch) -> Self {
        Self(batch)
    }
}

#[pymethods]
impl ArrowBatch {
    fn __len__(&self) -> usize {
        self.0.num_rows()
    }

    /// (schema, array) capsules of the Arrow `PyCapsule` interface.
    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<(Bound<'py, PyCapsule>, Bound<'py, PyCapsule>)> {
        // the interface allows a producer to ignore the request when it cannot cast
        drop(requested_schema);
        let data = StructArray::from(self.0.clone()).to_data();
        let (array, schema) =
            to_ffi(&data).map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok((
            PyCapsule::new_with_value(py, schema, c"arrow_schema")?,
            PyCapsule::new_with_value(py, array, c"arrow_array")?,
        ))
    }
}
