"""The `profile` event: a stack, and how often it was seen."""

from __future__ import annotations

from universal_tracer.model.columns import Array, Column, EventType, Object, Scalar
from universal_tracer.model.common import COMMON_COLUMNS

FRAME = Object(
    (
        Column("name", Scalar.TEXT, "the function, demangled; `[FILE]` where the file has no symbol for it"),
        Column("module", Scalar.TEXT, "the file that it is in, as the process has it; `[kernel]`, `[vdso]`"),
        Column("file", Scalar.TEXT, "its source file, where debug information tells"),
        Column("line", Scalar.UINT32, "the line in it: of the call, or where it was at work"),
        Column("inlined", Scalar.BOOLEAN, "whether the compiler put it into the frame before it"),
        Column("kind", Scalar.TEXT, "`kernel`, `user`, `python` or `jit`"),
    )
)

PROFILE = EventType(
    "profile",
    "A stack of one thread, and how often it was seen in an interval of a second.",
    (
        *COMMON_COLUMNS,
        Column("kind", Scalar.TEXT, "what is counted: `cpu`, `off-cpu`, `lock` or `memory`", always=True),
        Column("stack", Array(Scalar.TEXT), "the functions' names, the outermost first", always=True),
        Column("frames", Array(FRAME), "the same functions, as long as `stack`", always=True),
        Column("count", Scalar.UINT64, "samples", always=True),
        Column("value_ns", Scalar.UINT64, "the time that they stand for", unit="ns", always=True),
        Column(
            "end",
            Scalar.TEXT,
            "`complete` (the outermost function is the thread's first), `truncated` or `error`",
            always=True,
        ),
        Column("reason", Scalar.TEXT, "why the stack is not complete"),
        Column("request_id", Scalar.TEXT, "of the request that the thread served, where known"),
        Column("route", Scalar.TEXT, "of that request"),
        Column("capture", Scalar.UINT32, "on demand: the number of the capture that it belongs to"),
    ),
)
