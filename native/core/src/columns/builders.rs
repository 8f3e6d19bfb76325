//! Growing columns: the smallest builders that the event types need.
//!
//! Text is kept in a `String`, so that a finished column is valid UTF-8 by construction
//! and needs no second look.

use std::sync::Arc;

use arrow_array::types::{ArrowPrimitiveType, UInt16Type, UInt32Type};
use arrow_array::{ArrayRef, BooleanArray, ListArray, PrimitiveArray, StringArray, StructArray};
use arrow_buffer::{BooleanBufferBuilder, Buffer, NullBufferBuilder, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, Field, Fields};

use super::table::struct_column;

/// Room that a text column makes in advance, at most: the last batch's size, but for a few that are unusual.
const KEPT_TEXT_BYTES: usize = 4 << 20;

/// The end of `length` bytes or items as an Arrow offset.
///
/// The decoder stops writing long before this can saturate (see `decode::limits`).
pub(super) fn offset(length: usize) -> i32 {
    i32::try_from(length).unwrap_or(i32::MAX)
}

/// Bytes as text, when they are ASCII: a much faster look than the one for UTF-8.
pub(crate) fn ascii_text(bytes: &[u8]) -> Option<&str> {
    // SAFETY: ASCII is UTF-8.
    bytes
        .is_ascii()
        .then(|| unsafe { str::from_utf8_unchecked(bytes) })
}

/// A nullable `Utf8` column.
///
/// Nulls at the end are only counted: many columns hold nothing else for a whole batch.
#[derive(Debug)]
pub(super) struct TextColumn {
    values: String,
    ends: Vec<i32>,
    validity: NullBufferBuilder,
    nulls: usize,
}

impl TextColumn {
    pub(super) fn new() -> Self {
        Self::with_capacity(0, 0)
    }

    fn with_capacity(rows: usize, bytes: usize) -> Self {
        let mut ends = Vec::with_capacity(rows + 1);
        ends.push(0);
        Self {
            values: String::with_capacity(bytes),
            ends,
            validity: NullBufferBuilder::new(rows),
            nulls: 0,
        }
    }

    #[inline]
    pub(super) fn push(&mut self, text: &str) {
        self.settle_nulls();
        self.values.push_str(text);
        self.ends.push(offset(self.values.len()));
        self.validity.append_non_null();
    }

    #[inline]
    pub(super) fn push_null(&mut self) {
        self.nulls += 1;
    }

    #[inline]
    pub(super) fn push_option(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.push(text),
            None => self.push_null(),
        }
    }

    /// One row made of two parts.
    pub(super) fn push_joined(&mut self, first: &str, second: &str) {
        self.settle_nulls();
        self.values.push_str(first);
        self.push(second);
    }

    /// Many rows at once: `text` cut at `ends` (ascending, the last is `text.len()`).
    pub(super) fn push_all(&mut self, text: &str, ends: &[u32]) {
        self.settle_nulls();
        let base = offset(self.values.len());
        self.values.push_str(text);
        // a batch stays far below 2 GiB, and saturates rather than wraps
        self.ends
            .extend(ends.iter().map(|&end| base.saturating_add_unsigned(end)));
        self.validity.append_n_non_nulls(ends.len());
    }

    /// Writes the nulls that were only counted so far.
    #[inline]
    fn settle_nulls(&mut self) {
        if self.nulls > 0 {
            self.write_nulls();
        }
    }

    #[cold]
    fn write_nulls(&mut self) {
        let end = offset(self.values.len());
        self.ends.resize(self.ends.len() + self.nulls, end);
        self.validity.append_n_nulls(self.nulls);
        self.nulls = 0;
    }

    pub(super) fn rows(&self) -> usize {
        self.ends.len() - 1 + self.nulls
    }

    /// Bytes in use; room that is not used yet is none.
    pub(super) fn bytes(&self) -> usize {
        self.values.len() + self.ends.len() * size_of::<i32>()
    }

    pub(super) fn finish(&mut self) -> StringArray {
        let only_nulls = self.ends.len() == 1;
        self.settle_nulls();
        let rows = if only_nulls { 0 } else { self.rows() };
        let next = Self::with_capacity(rows, self.values.len().min(KEPT_TEXT_BYTES));
        let Self {
            values,
            ends,
            mut validity,
            ..
        } = std::mem::replace(self, next);
        // SAFETY: `ends` starts at 0 and ascends, every end was the length of `values` at a
        // push of whole `str`s (or a cut of one at its own ends), so it is a character boundary.
        unsafe {
            let offsets = OffsetBuffer::new_unchecked(ScalarBuffer::from(ends));
            StringArray::new_unchecked(
                offsets,
                Buffer::from_vec(values.into_bytes()),
                validity.finish(),
            )
        }
    }
}

/// A nullable column of numbers.
#[derive(Debug)]
pub(super) struct NumberColumn<T: ArrowPrimitiveType> {
    values: Vec<T::Native>,
    validity: NullBufferBuilder,
}

impl<T: ArrowPrimitiveType> NumberColumn<T> {
    pub(super) fn new() -> Self {
        Self {
            values: Vec::new(),
            validity: NullBufferBuilder::new(0),
        }
    }

    #[inline]
    pub(super) fn push(&mut self, value: T::Native) {
        self.values.push(value);
        self.validity.append_non_null();
    }

    pub(super) fn push_null(&mut self) {
        self.values.push(T::Native::default());
        self.validity.append_null();
    }

    #[inline]
    pub(super) fn push_option(&mut self, value: Option<T::Native>) {
        match value {
            Some(value) => self.push(value),
            None => self.push_null(),
        }
    }

    pub(super) fn finish(&mut self) -> PrimitiveArray<T> {
        let next = Vec::with_capacity(self.values.len());
        let values = std::mem::replace(&mut self.values, next);
        PrimitiveArray::new(ScalarBuffer::from(values), self.validity.finish())
    }
}

/// A `Boolean` column without nulls.
#[derive(Debug)]
pub(super) struct FlagColumn {
    values: BooleanBufferBuilder,
}

impl FlagColumn {
    pub(super) fn new() -> Self {
        Self {
            values: BooleanBufferBuilder::new(0),
        }
    }

    pub(super) fn push(&mut self, value: bool) {
        self.values.append(value);
    }

    pub(super) fn finish(&mut self) -> BooleanArray {
        BooleanArray::new(self.values.finish(), None)
    }
}

pub(super) fn struct_array(
    fields: Fields,
    members: Vec<ArrayRef>,
    validity: &mut NullBufferBuilder,
    rows: usize,
) -> StructArray {
    let nulls = validity.finish();
    debug_assert!(members.iter().all(|member| member.len() == rows));
    // SAFETY: every member got exactly one row per row of the struct, of the type that
    // `fields` states (checked by the schema test).
    unsafe { StructArray::new_unchecked_with_length(fields, members, nulls, rows) }
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum EndpointRow<'a> {
    /// Not known: the whole struct is null.
    #[default]
    Unknown,
    /// A TCP end, the address printed.
    Tcp { address: &'a str, port: u16 },
    /// A Unix socket: path as bound, `@name` for an abstract one, empty for an unnamed one.
    Unix { path: &'a str },
}

struct_column! {
    /// `Struct{address, port, path}`.
    EndpointColumn {
        address: TextColumn,
        port: NumberColumn<UInt16Type>,
        path: TextColumn,
    }
}

impl EndpointColumn {
    pub(super) fn push(&mut self, endpoint: EndpointRow<'_>) {
        let (address, port, path) = match endpoint {
            EndpointRow::Unknown => (None, None, None),
            EndpointRow::Tcp { address, port } => (Some(address), Some(port), None),
            EndpointRow::Unix { path } => (None, None, Some(path)),
        };
        self.address.push_option(address);
        self.port.push_option(port);
        self.path.push_option(path);
        self.validity.append(endpoint != EndpointRow::Unknown);
    }
}

struct_column! {
    /// `Struct{rtt_us, retransmits}`.
    TcpColumn {
        rtt_us: NumberColumn<UInt32Type>,
        retransmits: NumberColumn<UInt32Type>,
    }
}

/// What TCP itself knew during a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TcpRow {
    /// Smoothed round-trip time; `None` when unknown.
    pub rtt_us: Option<u32>,
    /// Segments sent again while the request was open.
    pub retransmits: u32,
}

impl TcpColumn {
    pub(super) fn push(&mut self, tcp: Option<TcpRow>) {
        self.rtt_us.push_option(tcp.and_then(|tcp| tcp.rtt_us));
        self.retransmits.push_option(tcp.map(|tcp| tcp.retransmits));
        self.validity.append(tcp.is_some());
    }
}

/// Header fields of one head in wire order: names and values end to end, with their ends.
#[derive(Debug, Default)]
pub struct HeaderFields {
    pub(crate) names: String,
    pub(crate) name_ends: Vec<u32>,
    pub(crate) values: String,
    pub(crate) value_ends: Vec<u32>,
}

impl HeaderFields {
    /// Ends the field whose name and value were written to `names` and `values`.
    pub(crate) fn end_field(&mut self) {
        self.name_ends.push(self.names.len() as u32);
        self.value_ends.push(self.values.len() as u32);
    }

    pub(crate) fn clear(&mut self) {
        self.names.clear();
        self.name_ends.clear();
        self.values.clear();
        self.value_ends.clear();
    }

    /// Takes over all fields of `other`.
    pub(crate) fn copy_from(&mut self, other: &Self) {
        self.names.clone_from(&other.names);
        self.name_ends.clone_from(&other.name_ends);
        self.values.clone_from(&other.values);
        self.value_ends.clone_from(&other.value_ends);
    }

    /// Bytes of memory in use.
    pub(crate) fn bytes(&self) -> usize {
        self.names.len()
            + self.values.len()
            + (self.name_ends.len() + self.value_ends.len()) * size_of::<u32>()
    }
}

/// `List<Struct{name, value}>`.
#[derive(Debug)]
pub(super) struct HeadersColumn {
    ends: Vec<i32>,
    validity: NullBufferBuilder,
    names: TextColumn,
    values: TextColumn,
}

impl HeadersColumn {
    pub(super) fn new() -> Self {
        Self {
            ends: vec![0],
            validity: NullBufferBuilder::new(0),
            names: TextColumn::new(),
            values: TextColumn::new(),
        }
    }

    pub(super) fn item() -> Field {
        let members = Fields::from(vec![
            Field::new("name", DataType::Utf8, true),
            Field::new("value", DataType::Utf8, true),
        ]);
        Field::new("item", DataType::Struct(members), true)
    }

    pub(super) fn push(&mut self, fields: Option<&HeaderFields>) {
        if let Some(fields) = fields {
            self.names.push_all(&fields.names, &fields.name_ends);
            self.values.push_all(&fields.values, &fields.value_ends);
        }
        self.ends.push(offset(self.names.rows()));
        self.validity.append(fields.is_some());
    }

    pub(super) fn bytes(&self) -> usize {
        self.names.bytes() + self.values.bytes()
    }

    pub(super) fn finish(&mut self) -> ListArray {
        let item = Self::item();
        let DataType::Struct(members) = item.data_type().clone() else {
            unreachable!("item() is a struct")
        };
        let rows = self.names.rows();
        let fields: Vec<ArrayRef> = vec![
            Arc::new(self.names.finish()),
            Arc::new(self.values.finish()),
        ];
        let structs = struct_array(members, fields, &mut NullBufferBuilder::new(0), rows);
        let mut next = Vec::with_capacity(self.ends.len());
        next.push(0);
        let ends = std::mem::replace(&mut self.ends, next);
        // SAFETY: starts at 0, ascends, and ends at the number of rows in `structs`.
        let offsets = unsafe { OffsetBuffer::new_unchecked(ScalarBuffer::from(ends)) };
        // SAFETY: the type of `structs` is `item`'s, and there is one offset and one validity bit per row.
        unsafe {
            ListArray::new_unchecked(
                Arc::new(item),
                offsets,
                Arc::new(structs),
                self.validity.finish(),
            )
        }
    }
}
