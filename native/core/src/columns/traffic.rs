//! The table `network`, of which the metrics are made: packets and bytes by interface, direction and protocol.

use std::sync::Arc;

use arrow_array::types::{UInt16Type, UInt64Type};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, Schema};

use super::builders::{NumberColumn, TextColumn};

/// What is new since the table before; `protocol` is `None` where packets are not IP.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct TrafficRow<'a> {
    pub interface: &'a str,
    pub direction: &'a str,
    pub protocol: Option<u16>,
    pub packets: u64,
    pub bytes: u64,
}

/// The rows as one batch; `None` when there are none.
///
/// # Errors
/// Never in practice: Arrow checks that the columns fit the schema.
pub fn traffic_table(rows: &[TrafficRow<'_>]) -> Result<Option<RecordBatch>, ArrowError> {
    if rows.is_empty() {
        return Ok(None);
    }
    let (mut interface, mut direction) = (TextColumn::new(), TextColumn::new());
    let mut protocol = NumberColumn::<UInt16Type>::new();
    let (mut packets, mut bytes) = (
        NumberColumn::<UInt64Type>::new(),
        NumberColumn::<UInt64Type>::new(),
    );
    for row in rows {
        interface.push(row.interface);
        direction.push(row.direction);
        protocol.push_option(row.protocol);
        packets.push(row.packets);
        bytes.push(row.bytes);
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(interface.finish()),
        Arc::new(direction.finish()),
        Arc::new(protocol.finish()),
        Arc::new(packets.finish()),
        Arc::new(bytes.finish()),
    ];
    RecordBatch::try_new(Arc::new(schema()), columns).map(Some)
}

fn schema() -> Schema {
    Schema::new(vec![
        Field::new("interface", DataType::Utf8, true),
        Field::new("direction", DataType::Utf8, true),
        Field::new("protocol", DataType::UInt16, true),
        Field::new("packets", DataType::UInt64, true),
        Field::new("bytes", DataType::UInt64, true),
    ])
}
