//! Columns of `http` events.

use arrow_array::types::{Float64Type, UInt16Type, UInt32Type, UInt64Type};

use super::builders::{
    EndpointColumn, EndpointRow, FlagColumn, HeaderFields, HeadersColumn, NumberColumn, TcpColumn,
    TcpRow, TextColumn,
};
use super::table::event_columns;

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

event_columns! {
    /// Growing columns of `http` events.
    HttpColumns {
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
}

impl HttpColumns {
    /// Appends one event.
    pub fn push(&mut self, row: &HttpRow<'_>) {
        self.push_time(row.timestamp_ns);
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
}
