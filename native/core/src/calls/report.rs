//! Calls as `function` events.

use std::sync::Arc;

use super::pair::CallRow;
use super::record::{Event, TakenCall};
use super::tables::{text_slot, told_arguments};
use super::values;
use crate::columns::{ArgumentRow, FunctionColumns, FunctionRow};
use crate::decode::TextMask;
use crate::functions::{Argument, Function, ValueType};
use crate::stack::report::{Reporter, comm_text};

/// Makes the texts of arguments, and `function` events.
#[derive(Clone, Debug)]
pub(crate) struct CallReporter {
    functions: Arc<[Function]>,
}

impl CallReporter {
    pub(crate) fn new(functions: Arc<[Function]>) -> Self {
        Self { functions }
    }

    /// Text by argument, secrets masked; `None` where it could not be read.
    pub(crate) fn arguments(
        &self,
        taken: &TakenCall,
        mask: &mut TextMask,
    ) -> Arc<[Option<String>]> {
        let Some(function) = self.function(taken.call.function) else {
            return Arc::default();
        };
        let mut text = |(index, argument): (usize, &Argument)| {
            let raw = taken.argument(index)?;
            let Some(slot) = text_slot(function, index) else {
                return values::text(argument.kind, raw);
            };
            let bytes = taken.text(slot)?;
            Some(mask.masked(argument.name.as_deref(), &String::from_utf8_lossy(bytes)))
        };
        let arguments = told_arguments(function);
        arguments.iter().enumerate().map(&mut text).collect()
    }

    /// Appends an event; the names in its stack are known to `names`.
    pub(crate) fn push(
        &self,
        unix_offset_ns: i64,
        call: &CallRow,
        names: &Reporter,
        columns: &mut FunctionColumns,
    ) {
        let Some(function) = self.function(call.function) else {
            return;
        };
        let comm = comm_text(&call.comm);
        let entered = call.entered.as_ref();
        let stack = entered.map(|entered| &*entered.stack);
        let result = function.result.zip(call.result);
        let row = FunctionRow {
            timestamp_ns: call.time_ns.cast_signed() + unix_offset_ns,
            pid: call.pid,
            tid: call.tid,
            comm: &comm,
            function: &function.name,
            module: &function.module,
            event: match call.event {
                Event::Entry => "entry",
                Event::Exit => "exit",
            },
            duration_ns: call.duration_ns,
            self_ns: call.self_ns,
            return_value: result.and_then(|(kind, raw)| values::integer(kind, raw)),
            end: stack.map(|stack| stack.end.name()),
            reason: stack.and_then(|stack| stack.end.reason()),
        };
        let texts = entered.map_or(&[][..], |entered| &entered.arguments);
        let frames = stack.map(|stack| names.frames(stack)).unwrap_or_default();
        columns.push(
            &row,
            arguments(function, texts).iter().map(Named::row),
            frames.iter().flat_map(|functions| functions.iter()),
        );
    }

    fn function(&self, number: u32) -> Option<&Function> {
        self.functions.get(number as usize)
    }
}

/// An argument with a name: its own, or that of its place.
struct Named<'a> {
    name: String,
    kind: ValueType,
    value: Option<&'a str>,
}

impl Named<'_> {
    fn row(&self) -> ArgumentRow<'_> {
        ArgumentRow {
            name: &self.name,
            kind: self.kind.name(),
            value: self.value,
        }
    }
}

fn arguments<'a>(function: &Function, texts: &'a [Option<String>]) -> Vec<Named<'a>> {
    let told = told_arguments(function).iter().zip(texts);
    told.enumerate()
        .map(|(index, (argument, value))| Named {
            name: argument
                .name
                .clone()
                .unwrap_or_else(|| format!("arg{index}")),
            kind: argument.kind,
            value: value.as_deref(),
        })
        .collect()
}
