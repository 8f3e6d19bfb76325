//! The values of a column, its type looked up once.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, BooleanArray, LargeStringArray, PrimitiveArray,
    StringArray, StringViewArray, StructArray,
};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{ArrowError, DataType};

use super::text;

const NULL: &[u8] = b"null";

/// A column, or a member of one, ready to be written row by row.
pub(super) enum Value<'a> {
    Boolean(&'a BooleanArray),
    Signed(Signed<'a>),
    Unsigned(Unsigned<'a>),
    Float(&'a PrimitiveArray<Float64Type>),
    ShortFloat(&'a PrimitiveArray<Float32Type>),
    Text(&'a StringArray),
    LargeText(&'a LargeStringArray),
    TextView(&'a StringViewArray),
    Object(&'a StructArray, Vec<(Vec<u8>, Value<'a>)>),
    Endpoint(&'a StructArray, Box<Endpoint<'a>>),
    List(&'a dyn Array, &'a OffsetBuffer<i32>, Box<Value<'a>>),
    LargeList(&'a dyn Array, &'a OffsetBuffer<i64>, Box<Value<'a>>),
}

/// Whole numbers with a sign, by their width in bits.
pub(super) enum Signed<'a> {
    W8(&'a PrimitiveArray<Int8Type>),
    W16(&'a PrimitiveArray<Int16Type>),
    W32(&'a PrimitiveArray<Int32Type>),
    W64(&'a PrimitiveArray<Int64Type>),
}

/// Whole numbers without a sign, by their width in bits.
pub(super) enum Unsigned<'a> {
    W8(&'a PrimitiveArray<UInt8Type>),
    W16(&'a PrimitiveArray<UInt16Type>),
    W32(&'a PrimitiveArray<UInt32Type>),
    W64(&'a PrimitiveArray<UInt64Type>),
}

/// `{address, port}` of TCP, or `{path}` of a Unix socket.
pub(super) struct Endpoint<'a> {
    address: &'a dyn Array,
    path: &'a dyn Array,
    members: [Value<'a>; 3],
}

impl<'a> Value<'a> {
    /// Of any column that events have.
    pub(super) fn of(array: &'a ArrayRef) -> Result<Self, ArrowError> {
        Ok(match array.data_type() {
            DataType::Boolean => Self::Boolean(array.as_boolean()),
            DataType::Int8 => Self::Signed(Signed::W8(array.as_primitive())),
            DataType::Int16 => Self::Signed(Signed::W16(array.as_primitive())),
            DataType::Int32 => Self::Signed(Signed::W32(array.as_primitive())),
            DataType::Int64 => Self::Signed(Signed::W64(array.as_primitive())),
            DataType::UInt8 => Self::Unsigned(Unsigned::W8(array.as_primitive())),
            DataType::UInt16 => Self::Unsigned(Unsigned::W16(array.as_primitive())),
            DataType::UInt32 => Self::Unsigned(Unsigned::W32(array.as_primitive())),
            DataType::UInt64 => Self::Unsigned(Unsigned::W64(array.as_primitive())),
            DataType::Float32 => Self::ShortFloat(array.as_primitive()),
            DataType::Float64 => Self::Float(array.as_primitive()),
            DataType::Utf8 => Self::Text(array.as_string()),
            DataType::LargeUtf8 => Self::LargeText(array.as_string()),
            DataType::Utf8View => Self::TextView(array.as_string_view()),
            DataType::Struct(_) => Self::object(array.as_struct())?,
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                Self::List(array, list.offsets(), Box::new(Self::of(list.values())?))
            }
            DataType::LargeList(_) => {
                let list = array.as_list::<i64>();
                Self::LargeList(array, list.offsets(), Box::new(Self::of(list.values())?))
            }
            other => {
                return Err(ArrowError::NotYetImplemented(format!("{other} as JSON")));
            }
        })
    }

    /// Of `local` or `peer`; of any other shape as it is.
    pub(super) fn endpoint(array: &'a ArrayRef) -> Result<Self, ArrowError> {
        let Some(object) = array.as_struct_opt() else {
            return Self::of(array);
        };
        if object.column_names() != ["address", "port", "path"] {
            return Self::of(array);
        }
        let [address, port, path] = [0, 1, 2].map(|index| object.column(index));
        let members = [Self::of(address)?, Self::of(port)?, Self::of(path)?];
        Ok(Self::Endpoint(
            object,
            Box::new(Endpoint {
                address,
                path,
                members,
            }),
        ))
    }

    fn object(object: &'a StructArray) -> Result<Self, ArrowError> {
        let mut members = Vec::with_capacity(object.num_columns());
        for (index, (name, array)) in object
            .column_names()
            .into_iter()
            .zip(object.columns())
            .enumerate()
        {
            members.push((prefix(index, name), Self::of(array)?));
        }
        Ok(Self::Object(object, members))
    }

    /// Append the value of one row.
    pub(super) fn write(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            Self::Boolean(array) if array.is_valid(row) => {
                out.extend_from_slice(if array.value(row) { b"true" } else { b"false" });
            }
            Self::Signed(array) => array.write(row, out),
            Self::Unsigned(array) => array.write(row, out),
            Self::Float(array) if array.is_valid(row) && array.value(row).is_finite() => {
                let mut digits = zmij::Buffer::new();
                out.extend_from_slice(digits.format_finite(array.value(row)).as_bytes());
            }
            Self::ShortFloat(array) if array.is_valid(row) && array.value(row).is_finite() => {
                let mut digits = zmij::Buffer::new();
                out.extend_from_slice(digits.format_finite(array.value(row)).as_bytes());
            }
            Self::Text(array) if array.is_valid(row) => text::write(array.value(row), out),
            Self::LargeText(array) if array.is_valid(row) => text::write(array.value(row), out),
            Self::TextView(array) if array.is_valid(row) => text::write(array.value(row), out),
            Self::Object(array, members) if array.is_valid(row) => write_object(members, row, out),
            Self::Endpoint(array, endpoint) if array.is_valid(row) => endpoint.write(row, out),
            Self::List(array, offsets, items) if array.is_valid(row) => {
                let end = usize::try_from(offsets[row + 1]).unwrap_or(0);
                write_list(items, usize::try_from(offsets[row]).unwrap_or(0)..end, out);
            }
            Self::LargeList(array, offsets, items) if array.is_valid(row) => {
                let end = usize::try_from(offsets[row + 1]).unwrap_or(0);
                write_list(items, usize::try_from(offsets[row]).unwrap_or(0)..end, out);
            }
            _ => out.extend_from_slice(NULL),
        }
    }
}

impl Signed<'_> {
    fn write(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            Self::W8(array) => write_integer(array, row, out),
            Self::W16(array) => write_integer(array, row, out),
            Self::W32(array) => write_integer(array, row, out),
            Self::W64(array) => write_integer(array, row, out),
        }
    }
}

impl Unsigned<'_> {
    fn write(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            Self::W8(array) => write_integer(array, row, out),
            Self::W16(array) => write_integer(array, row, out),
            Self::W32(array) => write_integer(array, row, out),
            Self::W64(array) => write_integer(array, row, out),
        }
    }
}

impl Endpoint<'_> {
    fn write(&self, row: usize, out: &mut Vec<u8>) {
        let [address, port, path] = &self.members;
        match (self.address.is_valid(row), self.path.is_valid(row)) {
            (false, false) => out.extend_from_slice(NULL),
            (true, false) => {
                out.extend_from_slice(b"{\"address\":");
                address.write(row, out);
                out.extend_from_slice(b",\"port\":");
                port.write(row, out);
                out.push(b'}');
            }
            (_, true) => {
                out.extend_from_slice(b"{\"path\":");
                path.write(row, out);
                out.push(b'}');
            }
        }
    }
}

/// What stands before a member's value.
pub(super) fn prefix(index: usize, name: &str) -> Vec<u8> {
    let mut before = vec![if index == 0 { b'{' } else { b',' }];
    text::write(name, &mut before);
    before.push(b':');
    before
}

fn write_object(members: &[(Vec<u8>, Value<'_>)], row: usize, out: &mut Vec<u8>) {
    for (prefix, value) in members {
        out.extend_from_slice(prefix);
        value.write(row, out);
    }
    out.extend_from_slice(if members.is_empty() { b"{}" } else { b"}" });
}

fn write_list(items: &Value<'_>, rows: std::ops::Range<usize>, out: &mut Vec<u8>) {
    out.push(b'[');
    for (index, row) in rows.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        items.write(row, out);
    }
    out.push(b']');
}

fn write_integer<T>(array: &PrimitiveArray<T>, row: usize, out: &mut Vec<u8>)
where
    T: ArrowPrimitiveType,
    T::Native: itoa::Integer,
{
    if array.is_null(row) {
        out.extend_from_slice(NULL);
        return;
    }
    let mut digits = itoa::Buffer::new();
    out.extend_from_slice(digits.format(array.value(row)).as_bytes());
}
