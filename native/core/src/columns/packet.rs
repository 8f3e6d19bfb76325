//! Columns of `packet` events.

use arrow_array::types::{Float64Type, UInt16Type, UInt32Type, UInt64Type};

use super::builders::{NumberColumn, TextColumn};
use super::network::{FlowKeyColumn, FlowKeyRow, TextListColumn, tcp_flag_names};
use super::table::{event_columns, struct_column};
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

event_columns! {
    /// Growing columns of `packet` events.
    PacketColumns {
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
}

impl PacketColumns {
    /// Appends one event.
    pub fn push(&mut self, row: &PacketRow<'_>) {
        self.push_time(row.timestamp_ns);
        self.pid.push_option(row.pid);
        self.comm.push_option(row.comm);
        self.interface.push(row.interface);
        self.direction.push(row.direction);
        self.protocol
            .push_option(row.key.map(|key| key.protocol.into()));
        self.flow.push(row.key.as_ref());
        self.length.push(row.length);
        self.tcp_flags.push_texts(row.tcp_flags.map(tcp_flag_names));
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
}

struct_column! {
    /// `Struct{kind, method, path, status}`.
    HttpSeenColumn {
        kind: TextColumn,
        method: TextColumn,
        path: TextColumn,
        status: NumberColumn<UInt16Type>,
    }
}

impl HttpSeenColumn {
    fn push(&mut self, seen: Option<&HttpSeen>) {
        self.kind.push_option(seen.map(|seen| seen.kind.name()));
        self.method
            .push_option(seen.and_then(|seen| seen.method.as_deref()));
        self.path
            .push_option(seen.and_then(|seen| seen.path.as_deref()));
        self.status.push_option(seen.and_then(|seen| seen.status));
        self.validity.append(seen.is_some());
    }
}

struct_column! {
    /// `Struct{sni, alpn}`.
    TlsSeenColumn {
        sni: TextColumn,
        alpn: TextListColumn,
    }
}

impl TlsSeenColumn {
    fn push(&mut self, seen: Option<&TlsSeen>) {
        self.sni
            .push_option(seen.and_then(|seen| seen.sni.as_deref()));
        let offered = seen.filter(|seen| !seen.alpn.is_empty());
        self.alpn
            .push_texts(offered.map(|seen| seen.alpn.iter().map(String::as_str)));
        self.validity.append(seen.is_some());
    }
}

struct_column! {
    /// `Struct{name, type, latency_ms}`.
    DnsSeenColumn {
        name: TextColumn,
        record_type as "type": TextColumn,
        latency_ms: NumberColumn<Float64Type>,
    }
}

impl DnsSeenColumn {
    fn push(&mut self, seen: Option<&DnsSeen>) {
        self.name.push_option(seen.map(|seen| seen.name.as_str()));
        self.record_type
            .push_option(seen.map(|seen| seen.record_type.as_str()));
        self.latency_ms
            .push_option(seen.and_then(|seen| seen.latency_ms));
        self.validity.append(seen.is_some());
    }
}
