//! Columns of `connection` events.

use std::sync::Arc;

use arrow_array::types::{Float64Type, Int64Type, UInt32Type, UInt64Type};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};

use super::builders::{EndpointColumn, EndpointRow, NumberColumn, TextColumn};
use super::time::TimestampText;

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

/// Growing columns of `connection` events.
#[derive(Debug)]
pub struct ConnectionColumns {
    schema: SchemaRef,
    clock: TimestampText,
    timestamp: TextColumn,
    timestamp_ns: NumberColumn<Int64Type>,
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

impl Default for ConnectionColumns {
    fn default() -> Self {
        Self::new()
    }
}

impl ConnectionColumns {
    /// Empty columns.
    pub fn new() -> Self {
        Self {
            schema: Arc::new(Self::schema()),
            clock: TimestampText::new(),
            timestamp: TextColumn::new(),
            timestamp_ns: NumberColumn::new(),
            pid: NumberColumn::new(),
            tid: NumberColumn::new(),
            comm: TextColumn::new(),
            event: TextColumn::new(),
            role: TextColumn::new(),
            local: EndpointColumn::new(),
            peer: EndpointColumn::new(),
            connection_id: TextColumn::new(),
            duration_ms: NumberColumn::new(),
            sent_bytes: NumberColumn::new(),
            received_bytes: NumberColumn::new(),
            requests: NumberColumn::new(),
        }
    }

    /// Names and types of the columns, in order.
    pub fn schema() -> Schema {
        let text = |name: &str| Field::new(name, DataType::Utf8, true);
        let endpoint =
            |name: &str| Field::new(name, DataType::Struct(EndpointColumn::fields()), true);
        let count = |name: &str| Field::new(name, DataType::UInt64, true);
        Schema::new(vec![
            Field::new("timestamp", DataType::Utf8, false),
            Field::new("timestamp_ns", DataType::Int64, false),
            Field::new("pid", DataType::UInt32, true),
            Field::new("tid", DataType::UInt32, true),
            text("comm"),
            text("event"),
            text("role"),
            endpoint("local"),
            endpoint("peer"),
            text("connection_id"),
            Field::new("duration_ms", DataType::Float64, true),
            count("sent_bytes"),
            count("received_bytes"),
            count("requests"),
        ])
    }

    /// Appends one event.
    pub fn push(&mut self, row: &ConnectionRow<'_>) {
        self.timestamp.push(self.clock.format(row.timestamp_ns));
        self.timestamp_ns.push(row.timestamp_ns);
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

    /// Events since the last [`ConnectionColumns::finish`].
    pub fn rows(&self) -> usize {
        self.timestamp.rows()
    }

    /// The events since the last call as one batch; `None` when there are none.
    ///
    /// # Errors
    /// Never in practice: Arrow checks that the columns fit the schema.
    pub fn finish(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        if self.rows() == 0 {
            return Ok(None);
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.timestamp.finish()),
            Arc::new(self.timestamp_ns.finish()),
            Arc::new(self.pid.finish()),
            Arc::new(self.tid.finish()),
            Arc::new(self.comm.finish()),
            Arc::new(self.event.finish()),
            Arc::new(self.role.finish()),
            Arc::new(self.local.finish()),
            Arc::new(self.peer.finish()),
            Arc::new(self.connection_id.finish()),
            Arc::new(self.duration_ms.finish()),
            Arc::new(self.sent_bytes.finish()),
            Arc::new(self.received_bytes.finish()),
            Arc::new(self.requests.finish()),
        ];
        RecordBatch::try_new(Arc::clone(&self.schema), columns).map(Some)
    }
}
