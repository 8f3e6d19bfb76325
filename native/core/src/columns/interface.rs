//! Columns of `interface` events.

use std::sync::Arc;

use arrow_array::types::{Float64Type, Int64Type, UInt64Type};
use arrow_array::{ArrayRef, ListArray, RecordBatch};
use arrow_buffer::{NullBufferBuilder, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType, Field, Fields, Schema, SchemaRef};

use super::builders::{NumberColumn, TextColumn, offset, struct_array};
use super::time::TimestampText;

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
    pub dropped: Option<u64>,
    /// runs, flows, filtered, sampled_out, not_ip, malformed, other
    pub ledger: [u64; LEDGER.len()],
    /// (reason, packets), those that occurred.
    pub malformed: &'a [(&'a str, u64)],
    pub protocols: &'a [ProtocolRow<'a>],
}

/// Members of `ledger`.
pub const LEDGER: [&str; 7] = [
    "runs",
    "flows",
    "filtered",
    "sampled_out",
    "not_ip",
    "malformed",
    "other",
];

/// Growing columns of `interface` events.
#[derive(Debug)]
pub struct InterfaceColumns {
    schema: SchemaRef,
    clock: TimestampText,
    timestamp: TextColumn,
    timestamp_ns: NumberColumn<Int64Type>,
    interval_ms: NumberColumn<Float64Type>,
    /// interface, direction, mode
    texts: [TextColumn; 3],
    packets: NumberColumn<UInt64Type>,
    bytes: NumberColumn<UInt64Type>,
    /// packets, bits per second
    rates: [NumberColumn<Float64Type>; 2],
    dropped: NumberColumn<UInt64Type>,
    ledger: [NumberColumn<UInt64Type>; LEDGER.len()],
    malformed: NamedCounts<1>,
    protocols: NamedCounts<2>,
}

impl Default for InterfaceColumns {
    fn default() -> Self {
        Self::new()
    }
}

impl InterfaceColumns {
    /// Empty columns.
    pub fn new() -> Self {
        Self {
            schema: Arc::new(Self::schema()),
            clock: TimestampText::new(),
            timestamp: TextColumn::new(),
            timestamp_ns: NumberColumn::new(),
            interval_ms: NumberColumn::new(),
            texts: std::array::from_fn(|_| TextColumn::new()),
            packets: NumberColumn::new(),
            bytes: NumberColumn::new(),
            rates: std::array::from_fn(|_| NumberColumn::new()),
            dropped: NumberColumn::new(),
            ledger: std::array::from_fn(|_| NumberColumn::new()),
            malformed: NamedCounts::new(["reason", "packets"]),
            protocols: NamedCounts::new(["protocol", "packets", "bytes"]),
        }
    }

    /// Names and types of the columns, in order.
    pub fn schema() -> Schema {
        let text = |name: &str| Field::new(name, DataType::Utf8, true);
        let count = |name: &str| Field::new(name, DataType::UInt64, true);
        let number = |name: &str| Field::new(name, DataType::Float64, true);
        Schema::new(vec![
            Field::new("timestamp", DataType::Utf8, false),
            Field::new("timestamp_ns", DataType::Int64, false),
            number("interval_ms"),
            text("interface"),
            text("direction"),
            text("mode"),
            count("packets"),
            count("bytes"),
            number("packets_per_second"),
            number("bits_per_second"),
            count("dropped"),
            Field::new("ledger", DataType::Struct(ledger_fields()), true),
            NamedCounts::<1>::new(["reason", "packets"]).field("malformed"),
            NamedCounts::<2>::new(["protocol", "packets", "bytes"]).field("protocols"),
        ])
    }

    /// Appends one event.
    pub fn push(&mut self, row: &InterfaceRow<'_>) {
        let seconds = row.interval_ns.max(1) as f64 / 1e9;
        self.timestamp.push(self.clock.format(row.timestamp_ns));
        self.timestamp_ns.push(row.timestamp_ns);
        self.interval_ms.push(seconds * 1e3);
        for (column, text) in self
            .texts
            .iter_mut()
            .zip([row.interface, row.direction, row.mode])
        {
            column.push(text);
        }
        self.packets.push(row.packets);
        self.bytes.push(row.bytes);
        self.rates[0].push(row.packets as f64 / seconds);
        self.rates[1].push(row.bytes as f64 * 8.0 / seconds);
        self.dropped.push_option(row.dropped);
        for (column, count) in self.ledger.iter_mut().zip(row.ledger) {
            column.push(count);
        }
        self.malformed.push(
            row.malformed
                .iter()
                .map(|&(reason, packets)| (reason, [packets])),
        );
        let protocols = row.protocols.iter();
        self.protocols
            .push(protocols.map(|row| (row.protocol, [row.packets, row.bytes])));
    }

    /// Events since the last [`InterfaceColumns::finish`].
    pub fn rows(&self) -> usize {
        self.timestamp.rows()
    }

    /// The events since the last call as one batch; `None` when there are none.
    ///
    /// # Errors
    /// Never in practice: Arrow checks that the columns fit the schema.
    pub fn finish(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        let rows = self.rows();
        if rows == 0 {
            return Ok(None);
        }
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(self.timestamp.finish()),
            Arc::new(self.timestamp_ns.finish()),
            Arc::new(self.interval_ms.finish()),
        ];
        columns.extend(
            self.texts
                .iter_mut()
                .map(|column| Arc::new(column.finish()) as ArrayRef),
        );
        columns.extend([
            Arc::new(self.packets.finish()) as ArrayRef,
            Arc::new(self.bytes.finish()),
        ]);
        columns.extend(
            self.rates
                .iter_mut()
                .map(|column| Arc::new(column.finish()) as ArrayRef),
        );
        columns.push(Arc::new(self.dropped.finish()));
        let ledger = self
            .ledger
            .iter_mut()
            .map(|column| Arc::new(column.finish()) as ArrayRef)
            .collect();
        let validity = &mut NullBufferBuilder::new(0);
        columns.push(Arc::new(struct_array(
            ledger_fields(),
            ledger,
            validity,
            rows,
        )));
        columns.push(Arc::new(self.malformed.finish()));
        columns.push(Arc::new(self.protocols.finish()));
        RecordBatch::try_new(Arc::clone(&self.schema), columns).map(Some)
    }
}

fn ledger_fields() -> Fields {
    LEDGER
        .iter()
        .map(|name| Field::new(*name, DataType::UInt64, true))
        .collect()
}

/// `List<Struct{name, count, …}>` with N counts.
#[derive(Debug)]
struct NamedCounts<const N: usize> {
    fields: Fields,
    ends: Vec<i32>,
    names: TextColumn,
    counts: [NumberColumn<UInt64Type>; N],
}

impl<const N: usize> NamedCounts<N> {
    /// `members`: the name's column and those of the counts.
    fn new<const M: usize>(members: [&str; M]) -> Self {
        let kind = |at| {
            if at == 0 {
                DataType::Utf8
            } else {
                DataType::UInt64
            }
        };
        let fields = members
            .iter()
            .enumerate()
            .map(|(at, name)| Field::new(*name, kind(at), true));
        Self {
            fields: fields.collect(),
            ends: vec![0],
            names: TextColumn::new(),
            counts: std::array::from_fn(|_| NumberColumn::new()),
        }
    }

    fn item(&self) -> Field {
        Field::new("item", DataType::Struct(self.fields.clone()), true)
    }

    fn field(&self, name: &str) -> Field {
        Field::new(name, DataType::List(Arc::new(self.item())), true)
    }

    fn push<'a>(&mut self, items: impl Iterator<Item = (&'a str, [u64; N])>) {
        for (name, values) in items {
            self.names.push(name);
            for (column, value) in self.counts.iter_mut().zip(values) {
                column.push(value);
            }
        }
        self.ends.push(offset(self.names.rows()));
    }

    fn finish(&mut self) -> ListArray {
        let rows = self.names.rows();
        let mut members: Vec<ArrayRef> = vec![Arc::new(self.names.finish())];
        members.extend(
            self.counts
                .iter_mut()
                .map(|column| Arc::new(column.finish()) as ArrayRef),
        );
        let validity = &mut NullBufferBuilder::new(0);
        let items = struct_array(self.fields.clone(), members, validity, rows);
        let ends = std::mem::replace(&mut self.ends, vec![0]);
        // SAFETY: starts at 0, ascends, and ends at the number of items.
        let offsets = unsafe { OffsetBuffer::new_unchecked(ScalarBuffer::from(ends)) };
        ListArray::new(Arc::new(self.item()), offsets, Arc::new(items), None)
    }
}
