//! Columns of `http` events.

use std::sync::Arc;

use arrow_array::types::{Float64Type, Int64Type, UInt16Type, UInt32Type, UInt64Type};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};

use super::builders::{
    EndpointColumn, EndpointRow, FlagColumn, HeaderFields, HeadersColumn, NumberColumn, TcpColumn,
    TcpRow, TextColumn,
};
use super::time::TimestampText;

/// One `http` event; the members are the contract's columns, `None` is null.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct HttpRow<'a> {
    pub timestamp_ns: i64,
    pub pid: Option<u32>,
    pub tid: Option<u32>,
    pub comm: Option<&'a str>,
    pub protocol: &'a str,
    pub role: &'a str,
    pub method: Option<&'a str>,
    pub path: Option<&'a str>,
    pub query: Option<&'a str>,
    pub route: Option<&'a str>,
    pub authority: Option<&'a str>,
    pub status: Option<u16>,
    pub latency_ms: Option<f64>,
    pub ttfb_ms: Option<f64>,
    pub request_bytes: u64,
    pub response_bytes: u64,
    pub streaming: bool,
    pub local: EndpointRow<'a>,
    pub peer: EndpointRow<'a>,
    pub connection_id: &'a str,
    /// What follows the connection's id in `request_id`.
    pub request_suffix: &'a str,
    pub trace_id: Option<&'a str>,
    pub span_id: Option<&'a str>,
    pub parent_span_id: Option<&'a str>,
    pub request_headers: Option<&'a HeaderFields>,
    pub response_headers: Option<&'a HeaderFields>,
    pub request_body: Option<&'a str>,
    pub response_body: Option<&'a str>,
    pub user_agent: Option<&'a str>,
    pub content_type: Option<&'a str>,
    pub error: Option<&'a str>,
    pub tcp: Option<TcpRow>,
}

/// Growing columns of `http` events.
#[derive(Debug)]
pub struct HttpColumns {
    schema: SchemaRef,
    clock: TimestampText,
    timestamp: TextColumn,
    timestamp_ns: NumberColumn<Int64Type>,
    pid: NumberColumn<UInt32Type>,
    tid: NumberColumn<UInt32Type>,
    comm: TextColumn,
    protocol: TextColumn,
    role: TextColumn,
    method: TextColumn,
    path: TextColumn,
    query: TextColumn,
    route: TextColumn,
    authority: TextColumn,
    status: NumberColumn<UInt16Type>,
    latency_ms: NumberColumn<Float64Type>,
    ttfb_ms: NumberColumn<Float64Type>,
    request_bytes: NumberColumn<UInt64Type>,
    response_bytes: NumberColumn<UInt64Type>,
    streaming: FlagColumn,
    local: EndpointColumn,
    peer: EndpointColumn,
    connection_id: TextColumn,
    request_id: TextColumn,
    trace_id: TextColumn,
    span_id: TextColumn,
    parent_span_id: TextColumn,
    request_headers: HeadersColumn,
    response_headers: HeadersColumn,
    request_body: TextColumn,
    response_body: TextColumn,
    user_agent: TextColumn,
    content_type: TextColumn,
    error: TextColumn,
    tcp: TcpColumn,
}

impl Default for HttpColumns {
    fn default() -> Self {
        Self::new()
    }
}

impl HttpColumns {
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
            protocol: TextColumn::new(),
            role: TextColumn::new(),
            method: TextColumn::new(),
            path: TextColumn::new(),
            query: TextColumn::new(),
            route: TextColumn::new(),
            authority: TextColumn::new(),
            status: NumberColumn::new(),
            latency_ms: NumberColumn::new(),
            ttfb_ms: NumberColumn::new(),
            request_bytes: NumberColumn::new(),
            response_bytes: NumberColumn::new(),
            streaming: FlagColumn::new(),
            local: EndpointColumn::new(),
            peer: EndpointColumn::new(),
            connection_id: TextColumn::new(),
            request_id: TextColumn::new(),
            trace_id: TextColumn::new(),
            span_id: TextColumn::new(),
            parent_span_id: TextColumn::new(),
            request_headers: HeadersColumn::new(),
            response_headers: HeadersColumn::new(),
            request_body: TextColumn::new(),
            response_body: TextColumn::new(),
            user_agent: TextColumn::new(),
            content_type: TextColumn::new(),
            error: TextColumn::new(),
            tcp: TcpColumn::new(),
        }
    }

    /// Names and types of the columns, in order.
    pub fn schema() -> Schema {
        let text = |name: &str| Field::new(name, DataType::Utf8, true);
        let endpoint =
            |name: &str| Field::new(name, DataType::Struct(EndpointColumn::fields()), true);
        let headers =
            |name: &str| Field::new(name, DataType::List(Arc::new(HeadersColumn::item())), true);
        Schema::new(vec![
            Field::new("timestamp", DataType::Utf8, false),
            Field::new("timestamp_ns", DataType::Int64, false),
            Field::new("pid", DataType::UInt32, true),
            Field::new("tid", DataType::UInt32, true),
            text("comm"),
            text("protocol"),
            text("role"),
            text("method"),
            text("path"),
            text("query"),
            text("route"),
            text("authority"),
            Field::new("status", DataType::UInt16, true),
            Field::new("latency_ms", DataType::Float64, true),
            Field::new("ttfb_ms", DataType::Float64, true),
            Field::new("request_bytes", DataType::UInt64, true),
            Field::new("response_bytes", DataType::UInt64, true),
            Field::new("streaming", DataType::Boolean, true),
            endpoint("local"),
            endpoint("peer"),
            text("connection_id"),
            text("request_id"),
            text("trace_id"),
            text("span_id"),
            text("parent_span_id"),
            headers("request_headers"),
            headers("response_headers"),
            text("request_body"),
            text("response_body"),
            text("user_agent"),
            text("content_type"),
            text("error"),
            Field::new("tcp", DataType::Struct(TcpColumn::fields()), true),
        ])
    }

    /// Appends one event.
    pub fn push(&mut self, row: &HttpRow<'_>) {
        self.timestamp.push(self.clock.format(row.timestamp_ns));
        self.timestamp_ns.push(row.timestamp_ns);
        self.pid.push_option(row.pid);
        self.tid.push_option(row.tid);
        self.comm.push_option(row.comm);
        self.protocol.push(row.protocol);
        self.role.push(row.role);
        self.method.push_option(row.method);
        self.path.push_option(row.path);
        self.query.push_option(row.query);
        self.route.push_option(row.route);
        self.authority.push_option(row.authority);
        self.status.push_option(row.status);
        self.latency_ms.push_option(row.latency_ms);
        self.ttfb_ms.push_option(row.ttfb_ms);
        self.request_bytes.push(row.request_bytes);
        self.response_bytes.push(row.response_bytes);
        self.streaming.push(row.streaming);
        self.local.push(row.local);
        self.peer.push(row.peer);
        self.connection_id.push(row.connection_id);
        self.request_id
            .push_joined(row.connection_id, row.request_suffix);
        self.trace_id.push_option(row.trace_id);
        self.span_id.push_option(row.span_id);
        self.parent_span_id.push_option(row.parent_span_id);
        self.request_headers.push(row.request_headers);
        self.response_headers.push(row.response_headers);
        self.request_body.push_option(row.request_body);
        self.response_body.push_option(row.response_body);
        self.user_agent.push_option(row.user_agent);
        self.content_type.push_option(row.content_type);
        self.error.push_option(row.error);
        self.tcp.push(row.tcp);
    }

    /// Events since the last [`HttpColumns::finish`].
    pub fn rows(&self) -> usize {
        self.timestamp.rows()
    }

    /// Bytes held by the columns that can grow by what peers send.
    pub fn bytes(&self) -> usize {
        let text = [
            &self.path,
            &self.query,
            &self.route,
            &self.authority,
            &self.request_body,
            &self.response_body,
            &self.user_agent,
            &self.content_type,
            &self.timestamp,
        ];
        text.iter().map(|column| column.bytes()).sum::<usize>()
            + self.request_headers.bytes()
            + self.response_headers.bytes()
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
            Arc::new(self.protocol.finish()),
            Arc::new(self.role.finish()),
            Arc::new(self.method.finish()),
            Arc::new(self.path.finish()),
            Arc::new(self.query.finish()),
            Arc::new(self.route.finish()),
            Arc::new(self.authority.finish()),
            Arc::new(self.status.finish()),
            Arc::new(self.latency_ms.finish()),
            Arc::new(self.ttfb_ms.finish()),
            Arc::new(self.request_bytes.finish()),
            Arc::new(self.response_bytes.finish()),
            Arc::new(self.streaming.finish()),
            Arc::new(self.local.finish()),
            Arc::new(self.peer.finish()),
            Arc::new(self.connection_id.finish()),
            Arc::new(self.request_id.finish()),
            Arc::new(self.trace_id.finish()),
            Arc::new(self.span_id.finish()),
            Arc::new(self.parent_span_id.finish()),
            Arc::new(self.request_headers.finish()),
            Arc::new(self.response_headers.finish()),
            Arc::new(self.request_body.finish()),
            Arc::new(self.response_body.finish()),
            Arc::new(self.user_agent.finish()),
            Arc::new(self.content_type.finish()),
            Arc::new(self.error.finish()),
            Arc::new(self.tcp.finish()),
        ];
        RecordBatch::try_new(Arc::clone(&self.schema), columns).map(Some)
    }
}
