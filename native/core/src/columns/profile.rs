//! Columns of `profile` events.

use std::sync::Arc;

use arrow_array::types::{Int64Type, UInt32Type, UInt64Type};
use arrow_array::{Array, ArrayRef, ListArray, RecordBatch};
use arrow_buffer::{NullBufferBuilder, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType, Field, Fields, Schema, SchemaRef};

use super::builders::{FlagColumn, NumberColumn, TextColumn, offset, struct_array};
use super::time::TimestampText;
use crate::symbolize::Frame;

/// What one `profile` event tells beside its frames; the members are the contract's columns, `None` is null.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct ProfileRow<'a> {
    pub timestamp_ns: i64,
    pub pid: u32,
    pub tid: u32,
    pub comm: &'a str,
    pub kind: &'a str,
    pub count: u64,
    pub value_ns: u64,
    pub end: &'a str,
    pub reason: Option<&'a str>,
}

/// Growing columns of `profile` events.
#[derive(Debug)]
pub struct ProfileColumns {
    schema: SchemaRef,
    clock: TimestampText,
    timestamp: TextColumn,
    timestamp_ns: NumberColumn<Int64Type>,
    pid: NumberColumn<UInt32Type>,
    tid: NumberColumn<UInt32Type>,
    comm: TextColumn,
    kind: TextColumn,
    stack: TextColumn,
    frames: FrameColumns,
    ends: Vec<i32>,
    count: NumberColumn<UInt64Type>,
    value_ns: NumberColumn<UInt64Type>,
    end: TextColumn,
    reason: TextColumn,
}

/// Members of a frame, all frames of all rows one after the other.
#[derive(Debug)]
struct FrameColumns {
    name: TextColumn,
    module: TextColumn,
    file: TextColumn,
    line: NumberColumn<UInt32Type>,
    inlined: FlagColumn,
    kind: TextColumn,
}

impl Default for ProfileColumns {
    fn default() -> Self {
        Self::new()
    }
}

impl ProfileColumns {
    /// Empty columns.
    pub fn new() -> Self {
        Self {
            schema: Arc::new(Self::schema()),
            clock: TimestampText::new(),
            timestamp: TextColumn::new(),
            timestamp_ns: NumberColumn::new(),
            pid: NumberColumn::new(),
            tid: NumberColumn::new(),
            comm: TextColumn::new(),
            kind: TextColumn::new(),
            stack: TextColumn::new(),
            frames: FrameColumns::new(),
            ends: vec![0],
            count: NumberColumn::new(),
            value_ns: NumberColumn::new(),
            end: TextColumn::new(),
            reason: TextColumn::new(),
        }
    }

    /// Names and types of the columns, in order.
    pub fn schema() -> Schema {
        let text = |name: &str| Field::new(name, DataType::Utf8, true);
        let number = |name: &str, kind: DataType| Field::new(name, kind, true);
        Schema::new(vec![
            Field::new("timestamp", DataType::Utf8, false),
            Field::new("timestamp_ns", DataType::Int64, false),
            number("pid", DataType::UInt32),
            number("tid", DataType::UInt32),
            text("comm"),
            text("kind"),
            Field::new("stack", DataType::List(name_item()), true),
            Field::new("frames", DataType::List(FrameColumns::item()), true),
            number("count", DataType::UInt64),
            number("value_ns", DataType::UInt64),
            text("end"),
            text("reason"),
        ])
    }

    /// Appends one event; `frames` root first.
    pub fn push<'a>(&mut self, row: &ProfileRow<'_>, frames: impl Iterator<Item = &'a Frame>) {
        self.timestamp.push(self.clock.format(row.timestamp_ns));
        self.timestamp_ns.push(row.timestamp_ns);
        self.pid.push(row.pid);
        self.tid.push(row.tid);
        self.comm.push(row.comm);
        self.kind.push(row.kind);
        for frame in frames {
            self.stack.push(&frame.name);
            self.frames.push(frame);
        }
        self.ends.push(offset(self.stack.rows()));
        self.count.push(row.count);
        self.value_ns.push(row.value_ns);
        self.end.push(row.end);
        self.reason.push_option(row.reason);
    }

    /// Events since the last [`ProfileColumns::finish`].
    pub fn rows(&self) -> usize {
        self.timestamp.rows()
    }

    /// The events since the last call as one batch; `None` when there are none.
    ///
    /// # Errors
    /// Never in practice: Arrow checks that the columns fit the schema.
    pub fn finish(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        if self.rows() == 0 {
            return Ok(None);
        }
        let ends = std::mem::replace(&mut self.ends, vec![0]);
        let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
        let list = |item, values| ListArray::try_new(item, offsets.clone(), values, None);
        let stack = list(name_item(), Arc::new(self.stack.finish()) as ArrayRef)?;
        let frames = list(FrameColumns::item(), self.frames.finish())?;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.timestamp.finish()),
            Arc::new(self.timestamp_ns.finish()),
            Arc::new(self.pid.finish()),
            Arc::new(self.tid.finish()),
            Arc::new(self.comm.finish()),
            Arc::new(self.kind.finish()),
            Arc::new(stack),
            Arc::new(frames),
            Arc::new(self.count.finish()),
            Arc::new(self.value_ns.finish()),
            Arc::new(self.end.finish()),
            Arc::new(self.reason.finish()),
        ];
        RecordBatch::try_new(Arc::clone(&self.schema), columns).map(Some)
    }
}

fn name_item() -> Arc<Field> {
    Arc::new(Field::new("item", DataType::Utf8, true))
}

impl FrameColumns {
    fn new() -> Self {
        Self {
            name: TextColumn::new(),
            module: TextColumn::new(),
            file: TextColumn::new(),
            line: NumberColumn::new(),
            inlined: FlagColumn::new(),
            kind: TextColumn::new(),
        }
    }

    fn members() -> Fields {
        let text = |name: &str| Field::new(name, DataType::Utf8, true);
        Fields::from(vec![
            text("name"),
            text("module"),
            text("file"),
            Field::new("line", DataType::UInt32, true),
            Field::new("inlined", DataType::Boolean, true),
            text("kind"),
        ])
    }

    fn item() -> Arc<Field> {
        Arc::new(Field::new("item", DataType::Struct(Self::members()), true))
    }

    fn push(&mut self, frame: &Frame) {
        self.name.push(&frame.name);
        self.module.push_option(frame.module.as_deref());
        self.file.push_option(frame.file.as_deref());
        self.line.push_option(frame.line);
        self.inlined.push(frame.inlined);
        self.kind.push(frame.kind.name());
    }

    fn finish(&mut self) -> ArrayRef {
        let name = self.name.finish();
        let rows = name.len();
        let members: Vec<ArrayRef> = vec![
            Arc::new(name),
            Arc::new(self.module.finish()),
            Arc::new(self.file.finish()),
            Arc::new(self.line.finish()),
            Arc::new(self.inlined.finish()),
            Arc::new(self.kind.finish()),
        ];
        Arc::new(struct_array(
            Self::members(),
            members,
            &mut NullBufferBuilder::new(0),
            rows,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::{ProfileColumns, ProfileRow};
    use crate::symbolize::{Frame, FrameKind};

    fn frame(name: &str) -> Frame {
        Frame {
            name: name.to_owned(),
            module: None,
            file: None,
            line: None,
            inlined: false,
            kind: FrameKind::User,
        }
    }

    #[test]
    fn rows_keep_their_frames_and_columns_can_be_used_again() {
        let mut columns = ProfileColumns::new();
        for _ in 0..2 {
            let frames = [frame("main"), frame("a;<b>\n")];
            columns.push(&ProfileRow::default(), frames.iter());
            columns.push(&ProfileRow::default(), [].iter());
            let batch = columns.finish().expect("it fits").expect("two rows");
            assert_eq!(batch.num_rows(), 2);
            assert_eq!(batch.schema().fields(), ProfileColumns::schema().fields());
        }
        assert!(columns.finish().expect("it fits").is_none());
    }
}
