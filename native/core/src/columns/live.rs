//! Tables of the last second, for who looks at a terminal: the largest flows, and who sends most.

use arrow_array::RecordBatch;
use arrow_array::types::{Float64Type, UInt16Type};

use super::builders::{NumberColumn, TextColumn};
use super::network::FlowKeyRow;
use super::table::{Column, batch, struct_column};

/// Packets and bits a second.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct Rates {
    pub packets_per_second: f64,
    pub bits_per_second: f64,
}

struct_column! {
    /// A flow and its rates.
    FlowRateColumn {
        source: TextColumn,
        destination: TextColumn,
        source_port: NumberColumn<UInt16Type>,
        destination_port: NumberColumn<UInt16Type>,
        protocol: NumberColumn<UInt16Type>,
        interface: TextColumn,
        direction: TextColumn,
        packets_per_second: NumberColumn<Float64Type>,
        bits_per_second: NumberColumn<Float64Type>,
    }
}

struct_column! {
    /// An address and what it sends.
    TalkerColumn {
        address: TextColumn,
        packets_per_second: NumberColumn<Float64Type>,
        bits_per_second: NumberColumn<Float64Type>,
    }
}

/// The largest flows, the largest first.
#[derive(Debug)]
pub struct FlowRates(FlowRateColumn);

impl Default for FlowRates {
    fn default() -> Self {
        Self(FlowRateColumn::empty())
    }
}

impl FlowRates {
    /// Appends a flow.
    pub fn push(&mut self, key: &FlowKeyRow<'_>, interface: &str, direction: &str, rates: Rates) {
        let columns = &mut self.0;
        columns.source.push(key.source);
        columns.destination.push(key.destination);
        columns
            .source_port
            .push_option(key.ports.map(|both| both.0));
        columns
            .destination_port
            .push_option(key.ports.map(|both| both.1));
        columns.protocol.push(key.protocol.into());
        columns.interface.push(interface);
        columns.direction.push(direction);
        columns.packets_per_second.push(rates.packets_per_second);
        columns.bits_per_second.push(rates.bits_per_second);
        columns.validity.append_non_null();
    }

    /// The rows, which may be none.
    pub fn finish(mut self) -> RecordBatch {
        batch(&mut self.0)
    }
}

/// Who sends most, the largest first.
#[derive(Debug)]
pub struct Talkers(TalkerColumn);

impl Default for Talkers {
    fn default() -> Self {
        Self(TalkerColumn::empty())
    }
}

impl Talkers {
    /// Appends an address.
    pub fn push(&mut self, address: &str, rates: Rates) {
        let columns = &mut self.0;
        columns.address.push(address);
        columns.packets_per_second.push(rates.packets_per_second);
        columns.bits_per_second.push(rates.bits_per_second);
        columns.validity.append_non_null();
    }

    /// The rows, which may be none.
    pub fn finish(mut self) -> RecordBatch {
        batch(&mut self.0)
    }
}
