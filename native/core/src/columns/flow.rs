//! Columns of `flow` events.

use std::sync::Arc;

use arrow_array::types::{Float64Type, Int64Type, UInt16Type, UInt32Type, UInt64Type};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};

use super::builders::{NumberColumn, TextColumn};
use super::network::{FlowKeyColumn, FlowKeyRow, TextListColumn, tcp_flag_names};
use super::time::TimestampText;

/// One `flow` event; the members are the contract's columns, `None` is null.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct FlowRow<'a> {
    pub pid: Option<u32>,
    pub comm: Option<&'a str>,
    pub key: FlowKeyRow<'a>,
    pub interface: &'a str,
    pub direction: &'a str,
    pub packets: u64,
    pub bytes: u64,
    pub buffers: u64,
    pub first_seen_ns: i64,
    pub last_seen_ns: i64,
    /// Of TCP; `None` for other protocols.
    pub tcp: Option<FlowTcpRow>,
    pub http_requests: u64,
    pub http_responses: u64,
    pub conversation: &'a str,
    pub state: &'a str,
    pub sampling: u32,
}

/// What only TCP flows have.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct FlowTcpRow {
    pub flags: u8,
    pub rtt_us: Option<u32>,
    /// `None` under sampling: gaps are everywhere then.
    pub retransmits: Option<u64>,
    pub out_of_order: Option<u64>,
    pub zero_window: u64,
}

/// Growing columns of `flow` events.
#[derive(Debug)]
pub struct FlowColumns {
    schema: SchemaRef,
    clock: TimestampText,
    timestamp: TextColumn,
    timestamp_ns: NumberColumn<Int64Type>,
    pid: NumberColumn<UInt32Type>,
    comm: TextColumn,
    protocol: NumberColumn<UInt16Type>,
    flow: FlowKeyColumn,
    interface: TextColumn,
    direction: TextColumn,
    /// packets, bytes, buffers
    counts: [NumberColumn<UInt64Type>; 3],
    first_seen: TextColumn,
    last_seen: TextColumn,
    duration_ms: NumberColumn<Float64Type>,
    tcp_flags: TextListColumn,
    rtt_us: NumberColumn<UInt32Type>,
    /// retransmits, out_of_order, zero_window
    trouble: [NumberColumn<UInt64Type>; 3],
    /// requests, responses
    http: [NumberColumn<UInt64Type>; 2],
    conversation: TextColumn,
    state: TextColumn,
    sampling: NumberColumn<UInt32Type>,
}

impl Default for FlowColumns {
    fn default() -> Self {
        Self::new()
    }
}

fn counts<const N: usize>() -> [NumberColumn<UInt64Type>; N] {
    std::array::from_fn(|_| NumberColumn::new())
}

impl FlowColumns {
    /// Empty columns.
    pub fn new() -> Self {
        Self {
            schema: Arc::new(Self::schema()),
            clock: TimestampText::new(),
            timestamp: TextColumn::new(),
            timestamp_ns: NumberColumn::new(),
            pid: NumberColumn::new(),
            comm: TextColumn::new(),
            protocol: NumberColumn::new(),
            flow: FlowKeyColumn::new(),
            interface: TextColumn::new(),
            direction: TextColumn::new(),
            counts: counts(),
            first_seen: TextColumn::new(),
            last_seen: TextColumn::new(),
            duration_ms: NumberColumn::new(),
            tcp_flags: TextListColumn::new(),
            rtt_us: NumberColumn::new(),
            trouble: counts(),
            http: counts(),
            conversation: TextColumn::new(),
            state: TextColumn::new(),
            sampling: NumberColumn::new(),
        }
    }

    /// Names and types of the columns, in order.
    pub fn schema() -> Schema {
        let text = |name: &str| Field::new(name, DataType::Utf8, true);
        let count = |name: &str| Field::new(name, DataType::UInt64, true);
        Schema::new(vec![
            Field::new("timestamp", DataType::Utf8, false),
            Field::new("timestamp_ns", DataType::Int64, false),
            Field::new("pid", DataType::UInt32, true),
            text("comm"),
            Field::new("protocol", DataType::UInt16, true),
            Field::new("flow", DataType::Struct(FlowKeyColumn::fields()), true),
            text("interface"),
            text("direction"),
            count("packets"),
            count("bytes"),
            count("buffers"),
            text("first_seen"),
            text("last_seen"),
            Field::new("duration_ms", DataType::Float64, true),
            Field::new("tcp_flags", TextListColumn::data_type(), true),
            Field::new("rtt_us", DataType::UInt32, true),
            count("retransmits"),
            count("out_of_order"),
            count("zero_window"),
            count("http_requests"),
            count("http_responses"),
            text("conversation"),
            text("state"),
            Field::new("sampling", DataType::UInt32, true),
        ])
    }

    /// Appends one event.
    pub fn push(&mut self, row: &FlowRow<'_>) {
        let last_ns = row.last_seen_ns.max(row.first_seen_ns);
        self.timestamp.push(self.clock.format(row.first_seen_ns));
        self.timestamp_ns.push(row.first_seen_ns);
        self.pid.push_option(row.pid);
        self.comm.push_option(row.comm);
        self.protocol.push(row.key.protocol.into());
        self.flow.push(Some(&row.key));
        self.interface.push(row.interface);
        self.direction.push(row.direction);
        for (column, count) in self
            .counts
            .iter_mut()
            .zip([row.packets, row.bytes, row.buffers])
        {
            column.push(count);
        }
        self.first_seen.push(self.clock.format(row.first_seen_ns));
        self.last_seen.push(self.clock.format(last_ns));
        self.duration_ms
            .push((last_ns - row.first_seen_ns) as f64 / 1e6);
        self.push_tcp(row.tcp);
        self.http[0].push(row.http_requests);
        self.http[1].push(row.http_responses);
        self.conversation.push(row.conversation);
        self.state.push(row.state);
        self.sampling.push(row.sampling);
    }

    fn push_tcp(&mut self, tcp: Option<FlowTcpRow>) {
        self.tcp_flags
            .push(tcp.map(|tcp| tcp_flag_names(tcp.flags)));
        self.rtt_us.push_option(tcp.and_then(|tcp| tcp.rtt_us));
        self.trouble[0].push_option(tcp.and_then(|tcp| tcp.retransmits));
        self.trouble[1].push_option(tcp.and_then(|tcp| tcp.out_of_order));
        self.trouble[2].push_option(tcp.map(|tcp| tcp.zero_window));
    }

    /// Events since the last [`FlowColumns::finish`].
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
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(self.timestamp.finish()),
            Arc::new(self.timestamp_ns.finish()),
            Arc::new(self.pid.finish()),
            Arc::new(self.comm.finish()),
            Arc::new(self.protocol.finish()),
            Arc::new(self.flow.finish()),
            Arc::new(self.interface.finish()),
            Arc::new(self.direction.finish()),
        ];
        columns.extend(
            self.counts
                .iter_mut()
                .map(|column| Arc::new(column.finish()) as ArrayRef),
        );
        columns.extend([
            Arc::new(self.first_seen.finish()) as ArrayRef,
            Arc::new(self.last_seen.finish()),
            Arc::new(self.duration_ms.finish()),
            Arc::new(self.tcp_flags.finish()),
            Arc::new(self.rtt_us.finish()),
        ]);
        let counts = self.trouble.iter_mut().chain(&mut self.http);
        columns.extend(counts.map(|column| Arc::new(column.finish()) as ArrayRef));
        columns.extend([
            Arc::new(self.conversation.finish()) as ArrayRef,
            Arc::new(self.state.finish()),
            Arc::new(self.sampling.finish()),
        ]);
        RecordBatch::try_new(Arc::clone(&self.schema), columns).map(Some)
    }
}
