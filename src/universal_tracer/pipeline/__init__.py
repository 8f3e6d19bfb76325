"""From a source's batch to rows as they are told: stages that take a frame and return a frame.

    identify   who: host, service, container
    routes     at most so many routes a service
    shape      the event type's columns, in order

No stage knows another one, and none runs Python per event: per distinct process or route at most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from universal_tracer.config.tree import Config
    from universal_tracer.model.ports import Stage


def stages(config: Config) -> list[Stage]:  # noqa: ARG001  what later stages do depends on the configuration
    """The stages of a run, in the order in which each batch passes them."""
    from universal_tracer.pipeline.identify import Identify  # noqa: PLC0415  loads polars
    from universal_tracer.pipeline.routes import BoundRoutes  # noqa: PLC0415
    from universal_tracer.pipeline.shape import Shape  # noqa: PLC0415

    return [Identify(), BoundRoutes(), Shape()]
