//! Columns of `profile` events.

use arrow_array::types::{UInt32Type, UInt64Type};

use super::builders::{FlagColumn, NumberColumn, TextColumn};
use super::network::TextListColumn;
use super::table::{ListColumn, event_columns, struct_column};
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
    pub capture: Option<u32>,
}

event_columns! {
    /// Growing columns of `profile` events.
    ProfileColumns {
        pid: NumberColumn<UInt32Type>,
        tid: NumberColumn<UInt32Type>,
        comm: TextColumn,
        kind: TextColumn,
        stack: TextListColumn,
        frames: ListColumn<FrameColumn>,
        count: NumberColumn<UInt64Type>,
        value_ns: NumberColumn<UInt64Type>,
        end: TextColumn,
        reason: TextColumn,
        capture: NumberColumn<UInt32Type>,
    }
}

impl ProfileColumns {
    /// Appends one event; `frames` root first.
    pub fn push<'a>(
        &mut self,
        row: &ProfileRow<'_>,
        frames: impl Iterator<Item = &'a Frame> + Clone,
    ) {
        self.push_time(row.timestamp_ns);
        self.pid.push(row.pid);
        self.tid.push(row.tid);
        self.comm.push(row.comm);
        self.kind.push(row.kind);
        let names = frames.clone().map(|frame| frame.name.as_str());
        self.stack.push_texts(Some(names));
        self.frames.push(Some(frames), FrameColumn::push);
        self.count.push(row.count);
        self.value_ns.push(row.value_ns);
        self.end.push(row.end);
        self.reason.push_option(row.reason);
        self.capture.push_option(row.capture);
    }
}

struct_column! {
    /// `Struct{name, module, file, line, inlined, kind}`.
    FrameColumn {
        name: TextColumn,
        module: TextColumn,
        file: TextColumn,
        line: NumberColumn<UInt32Type>,
        inlined: FlagColumn,
        kind: TextColumn,
    }
}

impl FrameColumn {
    pub(super) fn push(&mut self, frame: &Frame) {
        self.name.push(&frame.name);
        self.module.push_option(frame.module.as_deref());
        self.file.push_option(frame.file.as_deref());
        self.line.push_option(frame.line);
        self.inlined.push(frame.inlined);
        self.kind.push(frame.kind.name());
        self.validity.append_non_null();
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
