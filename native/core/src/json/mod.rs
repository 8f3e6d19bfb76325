//! Rows of Arrow columns as lines of JSON.
//!
//! The text is the one that polars writes (`DataFrame.write_ndjson`), at a fifth
//! of the time: columns are looked at once per batch, values are copied as they
//! are unless something in them needs escaping. Of endpoints only the members
//! that apply are written.

mod text;
mod value;

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;

use value::Value;

/// Columns whose members are those of TCP or those of a Unix socket, never both.
const ENDPOINTS: [&str; 2] = ["local", "peer"];

/// Bytes of an event with a few headers; only a first guess of how much there will be.
const USUAL_ROW_BYTES: usize = 1024;

/// Append every row: an object and a line feed.
///
/// # Errors
///
/// Where a column has a type that events do not have.
pub fn write_rows(batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), ArrowError> {
    let columns = columns_of(batch)?;
    out.reserve(batch.num_rows() * USUAL_ROW_BYTES);
    for row in 0..batch.num_rows() {
        for (prefix, value) in &columns {
            out.extend_from_slice(prefix);
            value.write(row, out);
        }
        out.extend_from_slice(if columns.is_empty() { b"{}\n" } else { b"}\n" });
    }
    Ok(())
}

/// Each column with what stands before its value: `{"name":` or `,"name":`.
fn columns_of(batch: &RecordBatch) -> Result<Vec<(Vec<u8>, Value<'_>)>, ArrowError> {
    let schema = batch.schema_ref();
    let mut columns = Vec::with_capacity(schema.fields().len());
    for (index, (field, array)) in schema.fields().iter().zip(batch.columns()).enumerate() {
        let value = if ENDPOINTS.contains(&field.name().as_str()) {
            Value::endpoint(array)?
        } else {
            Value::of(array)?
        };
        columns.push((value::prefix(index, field.name()), value));
    }
    Ok(columns)
}
