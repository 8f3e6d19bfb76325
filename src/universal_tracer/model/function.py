"""The `function` event: a traced function was entered, or left."""

from __future__ import annotations

from universal_tracer.model.columns import Array, Column, EventType, Object, Scalar
from universal_tracer.model.common import COMMON_COLUMNS
from universal_tracer.model.profile import FRAME

ARGUMENT = Object(
    (
        Column("name", Scalar.TEXT, "as debug information has it, else `arg0`, `arg1`, …"),
        Column(
            "type",
            Scalar.TEXT,
            "`i8` … `i64`, `u8` … `u64`, `bool`, `pointer`, `string`; `f32`, `f64` and `other` have no value",
        ),
        Column(
            "value",
            Scalar.TEXT,
            "a number in decimal, a pointer in hexadecimal, a string as it is, its first 127 bytes; "
            "null where it could not be read",
        ),
    )
)

FUNCTION = EventType(
    "function",
    "A call of a traced function: its entry, and its exit, when it returns. A call that an exception, "
    "`longjmp` or the end of its thread leaves has no exit.",
    (
        *COMMON_COLUMNS,
        Column("function", Scalar.TEXT, "its name, demangled; `GROUP:EVENT` of a tracepoint", always=True),
        Column("module", Scalar.TEXT, "the file that it is in; `kernel`; a tracepoint's group", always=True),
        Column("event", Scalar.TEXT, "`entry` or `exit`; probes have entries only", always=True),
        Column("duration_ns", Scalar.UINT64, "of an exit: the time since its entry", unit="ns"),
        Column("self_ns", Scalar.UINT64, "of an exit: without the traced functions it called", unit="ns"),
        Column("arguments", Array(ARGUMENT), "as at the entry; empty where nothing is known of them"),
        Column("return_value", Scalar.INT64, "of an exit, where the function returns a number or a pointer"),
        Column("stack", Array(Scalar.TEXT), "its callers and itself, the outermost first, as at the entry"),
        Column("frames", Array(FRAME), "the same functions, as long as `stack`"),
        Column("end", Scalar.TEXT, "how the stack ended: `complete`, `truncated` or `error`"),
        Column("reason", Scalar.TEXT, "why the stack is not complete"),
    ),
)
