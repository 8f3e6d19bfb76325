"""Bounds the number of routes: a service whose paths have no pattern must not flood metrics and summaries."""

from __future__ import annotations

import polars as pl

OTHER = "other"
MAX_ROUTES_PER_SERVICE = 200
MAX_SERVICES = 1000
"""Services beyond these get no route but `other`: memory stays bounded however many there are."""


class BoundRoutes:
    """Replaces `route` by `other` beyond the first routes of each service, over the whole run."""

    def __init__(
        self, max_routes_per_service: int = MAX_ROUTES_PER_SERVICE, max_services: int = MAX_SERVICES
    ) -> None:
        self._max_routes = max_routes_per_service
        self._max_services = max_services
        self._routes: dict[str | None, set[str]] = {}

    def __call__(self, event_type: str, frame: pl.DataFrame) -> pl.DataFrame:  # noqa: ARG002
        """Frames without both `service` and `route` pass as they are; a null route stays null."""
        if not {"service", "route"} <= set(frame.columns):
            return frame
        distinct = frame.select("service", "route").unique(maintain_order=True).drop_nulls("route")
        refused = [pair for pair in distinct.iter_rows() if not self._admit(*pair)]
        if not refused:
            return frame
        replaced = pl.DataFrame(refused, schema={"service": pl.String, "route": pl.String}, orient="row")
        return (
            frame.join(
                replaced.with_columns(_bounded=pl.lit(OTHER)),
                on=["service", "route"],
                how="left",
                nulls_equal=True,
                maintain_order="left",
            )
            .with_columns(pl.coalesce("_bounded", "route").alias("route"))
            .drop("_bounded")
        )

    def _admit(self, service: str | None, route: str) -> bool:
        known = self._routes.get(service)
        if known is None:
            if len(self._routes) >= self._max_services:
                return False
            known = self._routes[service] = set()
        if route in known:
            return True
        if len(known) >= self._max_routes:
            return False
        known.add(route)
        return True
