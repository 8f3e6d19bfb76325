//! Columns of `interface` events.

use arrow_array::types::{Float64Type, UInt64Type};

use super::builders::{NumberColumn, TextColumn};
use super::live::Rates;
use super::table::{ListColumn, event_columns, struct_column};

/// Packets and bytes of one protocol.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct ProtocolRow<'a> {
    pub protocol: &'a str,
    pub packets: u64,
    pub bytes: u64,
}

/// One `interface` event; the members are the contract's columns, `None` is null.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct InterfaceRow<'a> {
    pub timestamp_ns: i64,
    pub interval_ns: i64,
    pub interface: &'a str,
    pub direction: &'a str,
    pub mode: &'a str,
    pub packets: u64,
    pub bytes: u64,
    pub rates: Rates,
    pub dropped: Option<u64>,
    pub ledger: LedgerRow,
    /// (reason, packets), those that occurred.
    pub malformed: &'a [(&'a str, u64)],
    pub protocols: &'a [ProtocolRow<'a>],
}

/// Program runs by what became of them.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct LedgerRow {
    pub runs: u64,
    pub flows: u64,
    pub filtered: u64,
    pub sampled_out: u64,
    pub not_ip: u64,
    pub malformed: u64,
    pub other: u64,
}

event_columns! {
    /// Growing columns of `interface` events.
    InterfaceColumns {
        interval_ms: NumberColumn<Float64Type>,
        interface: TextColumn,
        direction: TextColumn,
        mode: TextColumn,
        packets: NumberColumn<UInt64Type>,
        bytes: NumberColumn<UInt64Type>,
        packets_per_second: NumberColumn<Float64Type>,
        bits_per_second: NumberColumn<Float64Type>,
        dropped: NumberColumn<UInt64Type>,
        ledger: LedgerColumn,
        malformed: ListColumn<ReasonColumn>,
        protocols: ListColumn<ProtocolColumn>,
    }
}

impl InterfaceColumns {
    /// Appends one event.
    pub fn push(&mut self, row: &InterfaceRow<'_>) {
        self.push_time(row.timestamp_ns);
        self.interval_ms.push(row.interval_ns as f64 / 1e6);
        self.interface.push(row.interface);
        self.direction.push(row.direction);
        self.mode.push(row.mode);
        self.packets.push(row.packets);
        self.bytes.push(row.bytes);
        self.packets_per_second.push(row.rates.packets_per_second);
        self.bits_per_second.push(row.rates.bits_per_second);
        self.dropped.push_option(row.dropped);
        self.ledger.push(&row.ledger);
        self.malformed
            .push(Some(row.malformed), |column, &(reason, packets)| {
                column.reason.push(reason);
                column.packets.push(packets);
                column.validity.append_non_null();
            });
        self.protocols.push(Some(row.protocols), |column, row| {
            column.protocol.push(row.protocol);
            column.packets.push(row.packets);
            column.bytes.push(row.bytes);
            column.validity.append_non_null();
        });
    }
}

struct_column! {
    /// A reason and how many.
    ReasonColumn {
        reason: TextColumn,
        packets: NumberColumn<UInt64Type>,
    }
}

struct_column! {
    /// A protocol's share.
    ProtocolColumn {
        protocol: TextColumn,
        packets: NumberColumn<UInt64Type>,
        bytes: NumberColumn<UInt64Type>,
    }
}

struct_column! {
    /// Where program runs went.
    LedgerColumn {
        runs: NumberColumn<UInt64Type>,
        flows: NumberColumn<UInt64Type>,
        filtered: NumberColumn<UInt64Type>,
        sampled_out: NumberColumn<UInt64Type>,
        not_ip: NumberColumn<UInt64Type>,
        malformed: NumberColumn<UInt64Type>,
        other: NumberColumn<UInt64Type>,
    }
}

impl LedgerColumn {
    fn push(&mut self, ledger: &LedgerRow) {
        self.runs.push(ledger.runs);
        self.flows.push(ledger.flows);
        self.filtered.push(ledger.filtered);
        self.sampled_out.push(ledger.sampled_out);
        self.not_ip.push(ledger.not_ip);
        self.malformed.push(ledger.malformed);
        self.other.push(ledger.other);
        self.validity.append_non_null();
    }
}
