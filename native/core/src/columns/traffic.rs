//! The table `network`, of which the metrics are made: packets and bytes by interface, direction and protocol.

use arrow_array::RecordBatch;
use arrow_array::types::{UInt16Type, UInt64Type};

use super::builders::{NumberColumn, TextColumn};
use super::table::{Column, batch, struct_column};

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

struct_column! {
    /// As [`TrafficRow`].
    TrafficColumn {
        interface: TextColumn,
        direction: TextColumn,
        protocol: NumberColumn<UInt16Type>,
        packets: NumberColumn<UInt64Type>,
        bytes: NumberColumn<UInt64Type>,
    }
}

/// The rows as one batch; `None` when there are none.
pub fn traffic_table(rows: &[TrafficRow<'_>]) -> Option<RecordBatch> {
    let mut columns = TrafficColumn::empty();
    for row in rows {
        columns.interface.push(row.interface);
        columns.direction.push(row.direction);
        columns.protocol.push_option(row.protocol);
        columns.packets.push(row.packets);
        columns.bytes.push(row.bytes);
        columns.validity.append_non_null();
    }
    (!rows.is_empty()).then(|| batch(&mut columns))
}
