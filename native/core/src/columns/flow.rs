//! Columns of `flow` events.

use arrow_array::types::{Float64Type, UInt16Type, UInt32Type, UInt64Type};

use super::builders::{NumberColumn, TextColumn};
use super::network::{FlowKeyColumn, FlowKeyRow, TextListColumn, tcp_flag_names};
use super::table::event_columns;

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

event_columns! {
    /// Growing columns of `flow` events.
    FlowColumns {
        pid: NumberColumn<UInt32Type>,
        comm: TextColumn,
        protocol: NumberColumn<UInt16Type>,
        flow: FlowKeyColumn,
        interface: TextColumn,
        direction: TextColumn,
        packets: NumberColumn<UInt64Type>,
        bytes: NumberColumn<UInt64Type>,
        buffers: NumberColumn<UInt64Type>,
        first_seen: TextColumn,
        last_seen: TextColumn,
        duration_ms: NumberColumn<Float64Type>,
        tcp_flags: TextListColumn,
        rtt_us: NumberColumn<UInt32Type>,
        retransmits: NumberColumn<UInt64Type>,
        out_of_order: NumberColumn<UInt64Type>,
        zero_window: NumberColumn<UInt64Type>,
        http_requests: NumberColumn<UInt64Type>,
        http_responses: NumberColumn<UInt64Type>,
        conversation: TextColumn,
        state: TextColumn,
        sampling: NumberColumn<UInt32Type>,
    }
}

impl FlowColumns {
    /// Appends one event.
    pub fn push(&mut self, row: &FlowRow<'_>) {
        let last_ns = row.last_seen_ns.max(row.first_seen_ns);
        self.push_time(row.first_seen_ns);
        self.pid.push_option(row.pid);
        self.comm.push_option(row.comm);
        self.protocol.push(row.key.protocol.into());
        self.flow.push(Some(&row.key));
        self.interface.push(row.interface);
        self.direction.push(row.direction);
        self.packets.push(row.packets);
        self.bytes.push(row.bytes);
        self.buffers.push(row.buffers);
        self.first_seen.push(self.clock.format(row.first_seen_ns));
        self.last_seen.push(self.clock.format(last_ns));
        self.duration_ms
            .push((last_ns - row.first_seen_ns) as f64 / 1e6);
        self.push_tcp(row.tcp);
        self.http_requests.push(row.http_requests);
        self.http_responses.push(row.http_responses);
        self.conversation.push(row.conversation);
        self.state.push(row.state);
        self.sampling.push(row.sampling);
    }

    fn push_tcp(&mut self, tcp: Option<FlowTcpRow>) {
        self.tcp_flags
            .push_texts(tcp.map(|tcp| tcp_flag_names(tcp.flags)));
        self.rtt_us.push_option(tcp.and_then(|tcp| tcp.rtt_us));
        self.retransmits
            .push_option(tcp.and_then(|tcp| tcp.retransmits));
        self.out_of_order
            .push_option(tcp.and_then(|tcp| tcp.out_of_order));
        self.zero_window.push_option(tcp.map(|tcp| tcp.zero_window));
    }
}
