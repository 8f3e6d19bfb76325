"""The last stage: the columns of the event type, in the order of the output."""

from __future__ import annotations

from typing import TYPE_CHECKING

from universal_tracer.model import schema
from universal_tracer.model.events import EVENT_TYPES

if TYPE_CHECKING:
    import polars as pl


class Shape:
    """Gives every frame exactly the columns of its event type; see `model.schema.shape`."""

    def __call__(self, event_type: str, frame: pl.DataFrame) -> pl.DataFrame:
        """Columns that are missing are null, `type` is set. Tables that are no events pass as they are."""
        return schema.shape(event_type, frame) if event_type in EVENT_TYPES else frame
