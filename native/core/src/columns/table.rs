//! What the columns of all event types have in common: a time first, one row a push, one batch a tick.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::ArrowPrimitiveType;
use arrow_array::{Array, ArrayRef, ListArray, RecordBatch};
use arrow_buffer::{NullBufferBuilder, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, Field};

use super::builders::{FlagColumn, HeadersColumn, NumberColumn, TextColumn, offset, struct_array};
use super::network::FlowKeyColumn;

/// A growing column.
pub(super) trait Column {
    /// Without rows.
    fn empty() -> Self;

    fn data_type() -> DataType;

    /// The rows since the last call.
    fn take(&mut self) -> ArrayRef;
}

/// A field of a schema for a column of this kind.
pub(super) fn field<C: Column>(name: &str) -> Field {
    Field::new(name, C::data_type(), true)
}

macro_rules! column {
    ($kind:ty, $data_type:expr $(, $generic:ident: $bound:ident)?) => {
        impl$(<$generic: $bound>)? Column for $kind {
            fn empty() -> Self {
                Self::new()
            }

            fn data_type() -> DataType {
                $data_type
            }

            fn take(&mut self) -> ArrayRef {
                Arc::new(self.finish())
            }
        }
    };
}

column!(TextColumn, DataType::Utf8);
column!(NumberColumn<T>, T::DATA_TYPE, T: ArrowPrimitiveType);
column!(FlagColumn, DataType::Boolean);
column!(HeadersColumn, DataType::List(Arc::new(Self::item())));
column!(FlowKeyColumn, DataType::Struct(Self::fields()));

/// A column of lists: the items of all rows one after the other.
#[derive(Debug)]
pub(super) struct ListColumn<C> {
    ends: Vec<i32>,
    items: C,
    count: usize,
    validity: NullBufferBuilder,
}

impl<C: Column> ListColumn<C> {
    /// Appends a row; `write` appends one item.
    pub(super) fn push<T>(
        &mut self,
        row: Option<impl IntoIterator<Item = T>>,
        mut write: impl FnMut(&mut C, T),
    ) {
        self.validity.append(row.is_some());
        for item in row.into_iter().flatten() {
            write(&mut self.items, item);
            self.count += 1;
        }
        self.ends.push(offset(self.count));
    }
}

impl<C: Column> Column for ListColumn<C> {
    fn empty() -> Self {
        Self {
            ends: vec![0],
            items: C::empty(),
            count: 0,
            validity: NullBufferBuilder::new(0),
        }
    }

    fn data_type() -> DataType {
        DataType::List(Arc::new(field::<C>("item")))
    }

    fn take(&mut self) -> ArrayRef {
        let ends = std::mem::replace(&mut self.ends, vec![0]);
        self.count = 0;
        // SAFETY: starts at 0, ascends, and ends at the number of items.
        let offsets = unsafe { OffsetBuffer::new_unchecked(ScalarBuffer::from(ends)) };
        let item = Arc::new(field::<C>("item"));
        Arc::new(ListArray::new(
            item,
            offsets,
            self.items.take(),
            self.validity.finish(),
        ))
    }
}

/// A column's name: that of its member, or what is said instead.
macro_rules! column_name {
    ($member:ident) => {
        stringify!($member)
    };
    ($member:ident $name:literal) => {
        $name
    };
}

/// A column of structs: its members and which rows are null. `push` is up to the type.
macro_rules! struct_column {
    ($(#[$meta:meta])* $name:ident { $($member:ident $(as $label:literal)?: $kind:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug)]
        pub(super) struct $name {
            $($member: $kind,)*
            validity: arrow_buffer::NullBufferBuilder,
        }

        impl $crate::columns::table::Column for $name {
            fn empty() -> Self {
                Self {
                    $($member: $crate::columns::table::Column::empty(),)*
                    validity: arrow_buffer::NullBufferBuilder::new(0),
                }
            }

            fn data_type() -> arrow_schema::DataType {
                use $crate::columns::table::{column_name, field};
                arrow_schema::DataType::Struct(
                    vec![$(field::<$kind>(column_name!($member $($label)?)),)*].into(),
                )
            }

            fn take(&mut self) -> arrow_array::ArrayRef {
                let members = vec![$($crate::columns::table::Column::take(&mut self.$member),)*];
                $crate::columns::table::structs::<Self>(members, &mut self.validity)
            }
        }
    };
}

/// The rows of a column of structs as a table.
pub(super) fn batch<C: Column>(column: &mut C) -> RecordBatch {
    RecordBatch::from(column.take().as_struct())
}

/// Members, all of the same length, as structs.
pub(super) fn structs<C: Column>(
    members: Vec<ArrayRef>,
    validity: &mut NullBufferBuilder,
) -> ArrayRef {
    let DataType::Struct(fields) = C::data_type() else {
        unreachable!("struct_column! makes structs")
    };
    let rows = members.first().map_or(0, Array::len);
    Arc::new(struct_array(fields, members, validity, rows))
}

/// Columns of an event type behind `timestamp` and `timestamp_ns`. `push` is up to the type and begins with `push_time`.
macro_rules! event_columns {
    ($(#[$meta:meta])* $name:ident { $($column:ident: $kind:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug)]
        pub struct $name {
            schema: arrow_schema::SchemaRef,
            clock: $crate::columns::time::TimestampText,
            timestamp: $crate::columns::builders::TextColumn,
            timestamp_ns: $crate::columns::builders::NumberColumn<arrow_array::types::Int64Type>,
            $($column: $kind,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new()
            }
        }

        impl $name {
            /// Empty columns.
            pub fn new() -> Self {
                use $crate::columns::table::Column;
                Self {
                    schema: std::sync::Arc::new(Self::schema()),
                    clock: $crate::columns::time::TimestampText::new(),
                    timestamp: Column::empty(),
                    timestamp_ns: Column::empty(),
                    $($column: Column::empty(),)*
                }
            }

            /// Names and types of the columns, in order.
            pub fn schema() -> arrow_schema::Schema {
                use arrow_schema::{DataType, Field};
                arrow_schema::Schema::new(vec![
                    Field::new("timestamp", DataType::Utf8, false),
                    Field::new("timestamp_ns", DataType::Int64, false),
                    $($crate::columns::table::field::<$kind>(stringify!($column)),)*
                ])
            }

            /// The first two columns of a row.
            fn push_time(&mut self, unix_ns: i64) {
                self.timestamp.push(self.clock.format(unix_ns));
                self.timestamp_ns.push(unix_ns);
            }

            /// Events since the last `finish`.
            pub fn rows(&self) -> usize {
                self.timestamp.rows()
            }

            /// The events since the last call as one batch; `None` when there are none.
            ///
            /// # Errors
            /// Never in practice: Arrow checks that the columns fit the schema.
            pub fn finish(
                &mut self,
            ) -> Result<Option<arrow_array::RecordBatch>, arrow_schema::ArrowError> {
                use $crate::columns::table::Column;
                if self.rows() == 0 {
                    return Ok(None);
                }
                let columns = vec![
                    self.timestamp.take(),
                    self.timestamp_ns.take(),
                    $(self.$column.take(),)*
                ];
                let schema = std::sync::Arc::clone(&self.schema);
                arrow_array::RecordBatch::try_new(schema, columns).map(Some)
            }
        }
    };
}

pub(super) use {column_name, event_columns, struct_column};
