//! The table `functions`, of which the metrics are made: calls of each function by process, and how long they took.

use std::sync::Arc;

use arrow_array::types::{UInt32Type, UInt64Type};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, Schema};

use super::builders::{NumberColumn, TextColumn};
use super::table::{Column, ListColumn, field, struct_column};

/// What is new since the table before; `latencies` are pairs of ns and how many calls took about so long.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct CallsRow<'a> {
    pub pid: Option<u32>,
    pub comm: &'a str,
    pub function: &'a str,
    pub module: &'a str,
    pub calls: u64,
    pub returns: u64,
    pub total_ns: u64,
    pub max_ns: u64,
    pub latencies: &'a [(u64, u64)],
}

struct_column! {
    /// `Struct{ns, count}`.
    LatencyColumn {
        ns: NumberColumn<UInt64Type>,
        count: NumberColumn<UInt64Type>,
    }
}

/// The rows as one batch; `None` when there are none.
///
/// # Errors
/// Never in practice: Arrow checks that the columns fit the schema.
pub fn calls_table(rows: &[CallsRow<'_>]) -> Result<Option<RecordBatch>, ArrowError> {
    if rows.is_empty() {
        return Ok(None);
    }
    let mut pid = NumberColumn::<UInt32Type>::new();
    let mut texts: [TextColumn; 3] = std::array::from_fn(|_| TextColumn::new());
    let mut numbers: [NumberColumn<UInt64Type>; 4] = std::array::from_fn(|_| NumberColumn::new());
    let mut latencies = ListColumn::<LatencyColumn>::empty();
    for row in rows {
        pid.push_option(row.pid);
        for (column, text) in texts.iter_mut().zip([row.comm, row.function, row.module]) {
            column.push(text);
        }
        let counts = [row.calls, row.returns, row.total_ns, row.max_ns];
        for (column, number) in numbers.iter_mut().zip(counts) {
            column.push(number);
        }
        latencies.push(Some(row.latencies), |column, (ns, count)| {
            column.ns.push(*ns);
            column.count.push(*count);
            column.validity.append_non_null();
        });
    }
    let mut fields = vec![field::<NumberColumn<UInt32Type>>("pid")];
    fields.extend(["comm", "function", "module"].map(field::<TextColumn>));
    fields
        .extend(["calls", "returns", "total_ns", "max_ns"].map(field::<NumberColumn<UInt64Type>>));
    fields.push(field::<ListColumn<LatencyColumn>>("latencies"));
    let mut columns: Vec<ArrayRef> = vec![pid.take()];
    columns.extend(texts.iter_mut().map(Column::take));
    columns.extend(numbers.iter_mut().map(Column::take));
    columns.push(latencies.take());
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map(Some)
}

#[cfg(test)]
mod tests {
    use super::{CallsRow, calls_table};

    #[test]
    fn a_row_for_each_function() {
        let row = CallsRow {
            pid: Some(1),
            comm: "a",
            function: "f",
            module: "/m",
            calls: 3,
            returns: 2,
            total_ns: 9,
            max_ns: 5,
            latencies: &[(4, 1), (5, 1)],
        };
        let table = calls_table(&[row.clone(), row]).expect("it fits");
        let table = table.expect("two rows");
        assert_eq!((table.num_rows(), table.num_columns()), (2, 9));
        assert!(calls_table(&[]).expect("it fits").is_none());
    }
}
