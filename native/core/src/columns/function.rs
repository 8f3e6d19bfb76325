//! Columns of `function` events.

use arrow_array::types::{Int64Type, UInt32Type, UInt64Type};

use super::builders::{NumberColumn, TextColumn};
use super::network::TextListColumn;
use super::profile::FrameColumn;
use super::table::{ListColumn, event_columns, struct_column};
use crate::symbolize::Frame;

/// What one `function` event tells beside its frames and arguments; the members are the contract's columns.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct FunctionRow<'a> {
    pub timestamp_ns: i64,
    pub pid: u32,
    pub tid: u32,
    pub comm: &'a str,
    pub function: &'a str,
    pub module: &'a str,
    pub event: &'a str,
    pub duration_ns: Option<u64>,
    pub self_ns: Option<u64>,
    pub return_value: Option<i64>,
    pub end: Option<&'a str>,
    pub reason: Option<&'a str>,
}

/// One argument of a call; `value` is null where it could not be read.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct ArgumentRow<'a> {
    pub name: &'a str,
    pub kind: &'a str,
    pub value: Option<&'a str>,
}

event_columns! {
    /// Growing columns of `function` events.
    FunctionColumns {
        pid: NumberColumn<UInt32Type>,
        tid: NumberColumn<UInt32Type>,
        comm: TextColumn,
        function: TextColumn,
        module: TextColumn,
        event: TextColumn,
        duration_ns: NumberColumn<UInt64Type>,
        self_ns: NumberColumn<UInt64Type>,
        arguments: ListColumn<ArgumentColumn>,
        return_value: NumberColumn<Int64Type>,
        stack: TextListColumn,
        frames: ListColumn<FrameColumn>,
        end: TextColumn,
        reason: TextColumn,
    }
}

impl FunctionColumns {
    /// Appends one event; frames root first.
    pub fn push<'a, 'b>(
        &mut self,
        row: &FunctionRow<'_>,
        arguments: impl Iterator<Item = ArgumentRow<'b>>,
        frames: impl Iterator<Item = &'a Frame> + Clone,
    ) {
        self.push_time(row.timestamp_ns);
        self.pid.push(row.pid);
        self.tid.push(row.tid);
        self.comm.push(row.comm);
        self.function.push(row.function);
        self.module.push(row.module);
        self.event.push(row.event);
        self.duration_ns.push_option(row.duration_ns);
        self.self_ns.push_option(row.self_ns);
        self.arguments.push(Some(arguments), ArgumentColumn::push);
        self.return_value.push_option(row.return_value);
        let names = frames.clone().map(|frame| frame.name.as_str());
        self.stack.push_texts(Some(names));
        self.frames.push(Some(frames), FrameColumn::push);
        self.end.push_option(row.end);
        self.reason.push_option(row.reason);
    }
}

struct_column! {
    /// `Struct{name, type, value}`.
    ArgumentColumn {
        name: TextColumn,
        kind as "type": TextColumn,
        value: TextColumn,
    }
}

impl ArgumentColumn {
    fn push(&mut self, argument: ArgumentRow<'_>) {
        self.name.push(argument.name);
        self.kind.push(argument.kind);
        self.value.push_option(argument.value);
        self.validity.append_non_null();
    }
}

#[cfg(test)]
mod tests {
    use super::{ArgumentRow, FunctionColumns, FunctionRow};

    #[test]
    fn rows_keep_their_arguments_and_columns_can_be_used_again() {
        let mut columns = FunctionColumns::new();
        for _ in 0..2 {
            let argument = ArgumentRow {
                name: "count",
                kind: "i32",
                value: Some("7"),
            };
            columns.push(
                &FunctionRow::default(),
                [argument, argument].into_iter(),
                [].iter(),
            );
            columns.push(&FunctionRow::default(), [].into_iter(), [].iter());
            let batch = columns.finish().expect("it fits").expect("two rows");
            assert_eq!(batch.num_rows(), 2);
            assert_eq!(batch.schema().fields(), FunctionColumns::schema().fields());
        }
        assert!(columns.finish().expect("it fits").is_none());
    }
}
