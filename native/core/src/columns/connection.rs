//! Columns of `connection` events.

use arrow_array::types::{Float64Type, UInt32Type, UInt64Type};

use super::builders::{EndpointColumn, EndpointRow, NumberColumn, TextColumn};
use super::table::event_columns;

/// One `connection` event; the members are the contract's columns, `None` is null.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct ConnectionRow<'a> {
    pub timestamp_ns: i64,
    pub pid: Option<u32>,
    pub tid: Option<u32>,
    pub comm: Option<&'a str>,
    pub event: &'a str,
    pub role: &'a str,
    pub local: EndpointRow<'a>,
    pub peer: EndpointRow<'a>,
    pub connection_id: &'a str,
    pub duration_ms: Option<f64>,
    pub sent_bytes: Option<u64>,
    pub received_bytes: Option<u64>,
    pub requests: Option<u64>,
}

event_columns! {
    /// Growing columns of `connection` events.
    ConnectionColumns {
        pid: NumberColumn<UInt32Type>,
        tid: NumberColumn<UInt32Type>,
        comm: TextColumn,
        event: TextColumn,
        role: TextColumn,
        local: EndpointColumn,
        peer: EndpointColumn,
        connection_id: TextColumn,
        duration_ms: NumberColumn<Float64Type>,
        sent_bytes: NumberColumn<UInt64Type>,
        received_bytes: NumberColumn<UInt64Type>,
        requests: NumberColumn<UInt64Type>,
    }
}

impl ConnectionColumns {
    /// Appends one event.
    pub fn push(&mut self, row: &ConnectionRow<'_>) {
        self.push_time(row.timestamp_ns);
        self.pid.push_option(row.pid);
        self.tid.push_option(row.tid);
        self.comm.push_option(row.comm);
        self.event.push(row.event);
        self.role.push(row.role);
        self.local.push(row.local);
        self.peer.push(row.peer);
        self.connection_id.push(row.connection_id);
        self.duration_ms.push_option(row.duration_ms);
        self.sent_bytes.push_option(row.sent_bytes);
        self.received_bytes.push_option(row.received_bytes);
        self.requests.push_option(row.requests);
    }
}
