//! Columns of `packet` events.

use std::sync::Arc;

use arrow_array::types::{Float64Type, Int64Type, UInt16Type, UInt32Type, UInt64Type};
use arrow_array::{ArrayRef, RecordBatch, StructArray};
use arrow_buffer::NullBufferBuilder;
use arrow_schema::{ArrowError, DataType, Field, Fields, Schema, SchemaRef};

use super::builders::{NumberColumn, TextColumn, struct_array};
use super::network::{FlowKeyColumn, FlowKeyRow, TextListColumn, tcp_flag_names};
use super::time::TimestampText;
use crate::xdp::payload::{DnsSeen, HttpSeen, Payload, TlsSeen};

/// One `packet` event; the members are the contract's columns, `None` is null.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct PacketRow<'a> {
    pub timestamp_ns: i64,
    pub pid: Option<u32>,
    pub comm: Option<&'a str>,
    pub interface: &'a str,
    pub direction: &'a str,
    /// `None` where it is not IP.
    pub key: Option<FlowKeyRow<'a>>,
    pub length: u64,
    /// Of TCP; `None` for other protocols.
    pub tcp_flags: Option<u8>,
    pub payload: Option<&'a Payload>,
}

/// Growing columns of `packet` events.
#[derive(Debug)]
pub struct PacketColumns {
    schema: SchemaRef,
    clock: TimestampText,
    timestamp: TextColumn,
    timestamp_ns: NumberColumn<Int64Type>,
    pid: NumberColumn<UInt32Type>,
    comm: TextColumn,
    interface: TextColumn,
    direction: TextColumn,
    protocol: NumberColumn<UInt16Type>,
    flow: FlowKeyColumn,
    length: NumberColumn<UInt64Type>,
    tcp_flags: TextListColumn,
    http: HttpSeenColumn,
    tls: TlsSeenColumn,
    dns: DnsSeenColumn,
}

impl Default for PacketColumns {
    fn default() -> Self {
        Self::new()
    }
}

impl PacketColumns {
    /// Empty columns.
    pub fn new() -> Self {
        Self {
            schema: Arc::new(Self::schema()),
            clock: TimestampText::new(),
            timestamp: TextColumn::new(),
            timestamp_ns: NumberColumn::new(),
            pid: NumberColumn::new(),
            comm: TextColumn::new(),
            interface: TextColumn::new(),
            direction: TextColumn::new(),
            protocol: NumberColumn::new(),
            flow: FlowKeyColumn::new(),
            length: NumberColumn::new(),
            tcp_flags: TextListColumn::new(),
            http: HttpSeenColumn::new(),
            tls: TlsSeenColumn::new(),
            dns: DnsSeenColumn::new(),
        }
    }

    /// Names and types of the columns, in order.
    pub fn schema() -> Schema {
        let text = |name: &str| Field::new(name, DataType::Utf8, true);
        let members = |name: &str, fields| Field::new(name, DataType::Struct(fields), true);
        Schema::new(vec![
            Field::new("timestamp", DataType::Utf8, false),
            Field::new("timestamp_ns", DataType::Int64, false),
            Field::new("pid", DataType::UInt32, true),
            text("comm"),
            text("interface"),
            text("direction"),
            Field::new("protocol", DataType::UInt16, true),
            members("flow", FlowKeyColumn::fields()),
            Field::new("length", DataType::UInt64, true),
            Field::new("tcp_flags", TextListColumn::data_type(), true),
            members("http", HttpSeenColumn::fields()),
            members("tls", TlsSeenColumn::fields()),
            members("dns", DnsSeenColumn::fields()),
        ])
    }

    /// Rows that were appended since the last [`PacketColumns::finish`].
    pub fn rows(&self) -> usize {
        self.timestamp.rows()
    }

    /// Appends one event.
    pub fn push(&mut self, row: &PacketRow<'_>) {
        self.timestamp.push(self.clock.format(row.timestamp_ns));
        self.timestamp_ns.push(row.timestamp_ns);
        self.pid.push_option(row.pid);
        self.comm.push_option(row.comm);
        self.interface.push(row.interface);
        self.direction.push(row.direction);
        self.protocol
            .push_option(row.key.map(|key| key.protocol.into()));
        self.flow.push(row.key.as_ref());
        self.length.push(row.length);
        self.tcp_flags.push(row.tcp_flags.map(tcp_flag_names));
        let (http, tls, dns) = match row.payload {
            Some(Payload::Http(seen)) => (Some(seen), None, None),
            Some(Payload::Tls(seen)) => (None, Some(seen), None),
            Some(Payload::Dns(seen)) => (None, None, Some(seen)),
            None => (None, None, None),
        };
        self.http.push(http);
        self.tls.push(tls);
        self.dns.push(dns);
    }

    /// The rows since the last time; `None` where there are none.
    ///
    /// # Errors
    /// Never but for a fault of this code.
    pub fn finish(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        if self.rows() == 0 {
            return Ok(None);
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.timestamp.finish()),
            Arc::new(self.timestamp_ns.finish()),
            Arc::new(self.pid.finish()),
            Arc::new(self.comm.finish()),
            Arc::new(self.interface.finish()),
            Arc::new(self.direction.finish()),
            Arc::new(self.protocol.finish()),
            Arc::new(self.flow.finish()),
            Arc::new(self.length.finish()),
            Arc::new(self.tcp_flags.finish()),
            Arc::new(self.http.finish()),
            Arc::new(self.tls.finish()),
            Arc::new(self.dns.finish()),
        ];
        RecordBatch::try_new(Arc::clone(&self.schema), columns).map(Some)
    }
}

/// `Struct{kind, method, path, status}`.
#[derive(Debug)]
struct HttpSeenColumn {
    /// kind, method, path
    texts: [TextColumn; 3],
    status: NumberColumn<UInt16Type>,
    validity: NullBufferBuilder,
}

impl HttpSeenColumn {
    fn new() -> Self {
        Self {
            texts: std::array::from_fn(|_| TextColumn::new()),
            status: NumberColumn::new(),
            validity: NullBufferBuilder::new(0),
        }
    }

    fn fields() -> Fields {
        let text = |name: &str| Field::new(name, DataType::Utf8, true);
        Fields::from(vec![
            text("kind"),
            text("method"),
            text("path"),
            Field::new("status", DataType::UInt16, true),
        ])
    }

    fn push(&mut self, seen: Option<&HttpSeen>) {
        let texts = [
            seen.map(|seen| seen.kind.name()),
            seen.and_then(|seen| seen.method.as_deref()),
            seen.and_then(|seen| seen.path.as_deref()),
        ];
        for (column, text) in self.texts.iter_mut().zip(texts) {
            column.push_option(text);
        }
        self.status.push_option(seen.and_then(|seen| seen.status));
        self.validity.append(seen.is_some());
    }

    fn finish(&mut self) -> StructArray {
        let texts = self.texts.each_mut().map(TextColumn::finish);
        let rows = arrow_array::Array::len(&texts[0]);
        let mut members: Vec<ArrayRef> = Vec::new();
        members.extend(texts.map(|text| Arc::new(text) as ArrayRef));
        members.push(Arc::new(self.status.finish()));
        struct_array(Self::fields(), members, &mut self.validity, rows)
    }
}

/// `Struct{sni, alpn}`.
#[derive(Debug)]
struct TlsSeenColumn {
    sni: TextColumn,
    alpn: TextListColumn,
    validity: NullBufferBuilder,
}

impl TlsSeenColumn {
    fn new() -> Self {
        Self {
            sni: TextColumn::new(),
            alpn: TextListColumn::new(),
            validity: NullBufferBuilder::new(0),
        }
    }

    fn fields() -> Fields {
        Fields::from(vec![
            Field::new("sni", DataType::Utf8, true),
            Field::new("alpn", TextListColumn::data_type(), true),
        ])
    }

    fn push(&mut self, seen: Option<&TlsSeen>) {
        self.sni
            .push_option(seen.and_then(|seen| seen.sni.as_deref()));
        let offered = seen.filter(|seen| !seen.alpn.is_empty());
        self.alpn
            .push(offered.map(|seen| seen.alpn.iter().map(String::as_str)));
        self.validity.append(seen.is_some());
    }

    fn finish(&mut self) -> StructArray {
        let sni = self.sni.finish();
        let rows = arrow_array::Array::len(&sni);
        let members: Vec<ArrayRef> = vec![Arc::new(sni), Arc::new(self.alpn.finish())];
        struct_array(Self::fields(), members, &mut self.validity, rows)
    }
}

/// `Struct{name, type, latency_ms}`.
#[derive(Debug)]
struct DnsSeenColumn {
    name: TextColumn,
    record_type: TextColumn,
    latency_ms: NumberColumn<Float64Type>,
    validity: NullBufferBuilder,
}

impl DnsSeenColumn {
    fn new() -> Self {
        Self {
            name: TextColumn::new(),
            record_type: TextColumn::new(),
            latency_ms: NumberColumn::new(),
            validity: NullBufferBuilder::new(0),
        }
    }

    fn fields() -> Fields {
        Fields::from(vec![
            Field::new("name", DataType::Utf8, true),
            Field::new("type", DataType::Utf8, true),
            Field::new("latency_ms", DataType::Float64, true),
        ])
    }

    fn push(&mut self, seen: Option<&DnsSeen>) {
        self.name.push_option(seen.map(|seen| seen.name.as_str()));
        self.record_type
            .push_option(seen.map(|seen| seen.record_type.as_str()));
        self.latency_ms
            .push_option(seen.and_then(|seen| seen.latency_ms));
        self.validity.append(seen.is_some());
    }

    fn finish(&mut self) -> StructArray {
        let name = self.name.finish();
        let rows = arrow_array::Array::len(&name);
        let members: Vec<ArrayRef> = vec![
            Arc::new(name),
            Arc::new(self.record_type.finish()),
            Arc::new(self.latency_ms.finish()),
        ];
        struct_array(Self::fields(), members, &mut self.validity, rows)
    }
}
