"""What the Python side costs: ready `http` columns through every stage and into each output, on one core.

    python benchmarks/pipeline.py [--events 30000] [--rounds 7] [--threads 1]

Prints per stage the processor time per event and the events per second of it (the best round: the machine
may be busy with other things), and the resident memory. The frames have the columns that the native core
makes; an event is about 1,080 bytes of JSON.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl

    from universal_tracer.model.ports import Sink

PROCESSES = 4
PATHS = 1000


def main() -> None:
    """Parse the arguments, keep to one core and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--events", type=int, default=30_000, help="per batch; 30,000 are 200 ms at 150,000/s"
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1, help="of polars; read when polars is imported")
    arguments = parser.parse_args()
    os.environ["POLARS_MAX_THREADS"] = str(arguments.threads)
    if arguments.threads == 1:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    measure(arguments.events, arguments.rounds)


def measure(events: int, rounds: int) -> None:
    """Print one line per stage and output, and the whole way."""
    from universal_tracer.pipeline import stages

    frame = synthetic_requests(events)
    whole = 0.0
    print(f"{'stage':32} {'µs/event':>9} {'events/s':>12}")
    for stage in stages(None):  # type: ignore[arg-type]  no stage needs a configuration yet
        taken = best(lambda stage=stage, frame=frame: stage("http", frame), rounds)
        report(type(stage).__name__, taken, events)
        frame = stage("http", frame)
        whole += taken
    taken = measure_outputs(frame, rounds)
    taken["metrics"] = measure_metrics(frame, rounds)
    for output in ("ndjson", "parquet", "metrics"):
        report(f"stages and {output}", whole + taken[output], events)
    measure_scrape()
    print(f"resident memory: {resident_mb():.0f} MB, at its highest {peak_mb():.0f} MB")


def measure_metrics(frame: pl.DataFrame, rounds: int) -> float:
    """Print a line; returns the seconds that counting the rows took."""
    from universal_tracer.model.series import Series
    from universal_tracer.pipeline.aggregate import Metrics

    meter = Metrics(Series(), {"http": "http"})
    taken = best(lambda: meter.measure("http", frame), rounds)
    report("metrics", taken, frame.height)
    return taken


def measure_scrape() -> None:
    """Print how long a scrape of as many series as there can be takes."""
    import polars as pl

    from universal_tracer.model.exposition import TextFormat, exposition
    from universal_tracer.model.series import Series
    from universal_tracer.pipeline.aggregate import Metrics

    frame = synthetic_requests(2000).with_columns(
        service=pl.lit("shop"), route=pl.format("/route/{}", pl.int_range(pl.len()))
    )
    meter = Metrics(Series(), {"http": "http"})
    meter.measure("http", frame)
    for text_format in TextFormat:
        text = exposition(meter.series.families(), text_format)
        series = sum(not line.startswith(b"#") for line in text.splitlines())
        taken = best(lambda text_format=text_format: exposition(meter.series.families(), text_format), 7)
        print(f"scrape of {series:,} series, {text_format.name.lower()}: {taken * 1000:.0f} ms")


def measure_outputs(frame: pl.DataFrame, rounds: int) -> dict[str, float]:
    """Print one line per output; returns the seconds that each took."""
    from universal_tracer.model.figures import RequestFigures
    from universal_tracer.model.ports import OutputFile, StandardOutput
    from universal_tracer.sinks import open_sinks
    from universal_tracer.system.json_lines import json_lines

    size = sum(map(len, json_lines(frame)))
    report(
        f"encoding, {size // frame.height} bytes",
        best(lambda: exhaust(json_lines(frame)), rounds),
        frame.height,
    )
    mixed = with_unix_sockets(frame)
    report("encoding, TCP and Unix mixed", best(lambda: exhaust(json_lines(mixed)), rounds), frame.height)
    report("figures", best(lambda: RequestFigures().add(frame), rounds), frame.height)
    taken = {}
    for format_name in ("json", "ndjson"):
        with tempfile.TemporaryDirectory() as directory:
            file = OutputFile(format_name, Path(directory, f"events.{format_name}"))
            [sink] = open_sinks([file], StandardOutput("none", is_terminal=False, color=False))
            taken[format_name] = best(lambda sink=sink: sink_batch(sink, frame), rounds)
            sink.close()
        report(f"{format_name} file", taken[format_name], frame.height)
    taken["parquet"] = measure_parquet(frame, rounds)
    return taken


def measure_parquet(frame: pl.DataFrame, rounds: int) -> float:
    """Print a line; returns the seconds that a batch took, as a row group with the file's new index."""
    from universal_tracer.system.files import open_for_writing
    from universal_tracer.system.parquet import ParquetWriter

    def write(writer: ParquetWriter) -> None:
        writer.write(frame)
        writer.tell()

    with tempfile.TemporaryDirectory() as directory:
        writer = ParquetWriter(open_for_writing(Path(directory, "http.parquet")), "http")
        taken = best(lambda: write(writer), rounds)
        writer.close()
    report("parquet file", taken, frame.height)
    return taken


def synthetic_requests(count: int) -> pl.DataFrame:
    """`count` rows with the columns of the native core; a few processes serve many connections."""
    import polars as pl

    from universal_tracer.model.schema import schema

    row = pl.int_range(count, dtype=pl.Int64)
    started_ns = 1_764_040_000_000_000_000 + row * 6_667
    text = {
        "comm": "nginx",
        "protocol": "HTTP/1.1",
        "role": "server",
        "route": "/users/{id}/orders",
        "authority": "shop.example.org:8080",
        "user_agent": "wrk/4.2",
        "content_type": "application/json",
    }
    columns = {name: pl.lit(value) for name, value in text.items()}
    columns |= {
        "timestamp_ns": started_ns,
        "timestamp": pl.from_epoch(started_ns, time_unit="ns").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"),
        "pid": (os.getpid() + row % PROCESSES).cast(pl.UInt32),
        "tid": (os.getpid() + row % PROCESSES).cast(pl.UInt32),
        "method": pl.when(row % 7 == 0).then(pl.lit("POST")).otherwise(pl.lit("GET")),
        "path": pl.format("/users/{}/orders", row % PATHS),
        "query": pl.when(row % 3 == 0).then(pl.lit("page=2&token=***")),
        "status": pl.when(row % 50 == 0).then(503).otherwise(200).cast(pl.UInt16),
        "latency_ms": 0.2 + (row % 9_973) / 1000,
        "ttfb_ms": 0.1 + (row % 9_973) / 1000,
        "request_bytes": (78 + row % 40).cast(pl.UInt64),
        "response_bytes": (238 + row % 4_000).cast(pl.UInt64),
        "streaming": pl.lit(value=False),
        "local": tcp_endpoint(pl.lit(8080)),
        "peer": tcp_endpoint(20_000 + row % 30_000),
        "connection_id": pl.format("{}-1f", row % 64),
        "request_id": pl.format("{}-2f", row),
        "request_headers": headers(host="shop.example.org:8080", user_agent="wrk/4.2"),
        "response_headers": headers(
            server="nginx/1.22.1", content_type="application/json", content_length="238"
        ),
        "tcp": pl.struct(rtt_us=(20 + row % 9).cast(pl.UInt32), retransmits=pl.lit(0, pl.UInt32)),
    }
    made_here = ("type", "host", "service", "container", "tls", "breakdown")
    native = {name: kind for name, kind in schema("http").items() if name not in made_here}
    selected = [columns.get(name, pl.lit(None)).cast(kind).alias(name) for name, kind in native.items()]
    # Native columns are whole, not one value repeated.
    return pl.select(row.alias("row")).select(pl.col("row"), *selected).drop("row").rechunk()


def tcp_endpoint(port: pl.Expr) -> pl.Expr:
    """A loopback address as the native core makes it."""
    import polars as pl

    return pl.struct(address=pl.lit("127.0.0.1"), port=port, path=pl.lit(None, pl.String))


def headers(**values: str) -> pl.Expr:
    """A list of the same headers for every row."""
    import polars as pl

    pairs = [
        pl.struct(name=pl.lit(name.replace("_", "-").title()), value=pl.lit(value))
        for name, value in values.items()
    ]
    return pl.concat_list(pairs)


def with_unix_sockets(frame: pl.DataFrame) -> pl.DataFrame:
    """The same rows, but for one that came over a Unix socket."""
    import polars as pl

    from universal_tracer.model.events import ENDPOINT
    from universal_tracer.model.schema import polars_type

    unix = pl.lit({"address": None, "port": None, "path": "/run/app.sock"}, polars_type(ENDPOINT))
    is_first = pl.int_range(pl.len()) == 0
    return frame.with_columns(
        pl.when(is_first).then(unix).otherwise(pl.col(name)).alias(name) for name in ("local", "peer")
    )


def exhaust(chunks: object) -> None:
    """Make every chunk and drop it."""
    for _ in chunks:  # type: ignore[attr-defined]
        pass


def sink_batch(sink: Sink, frame: pl.DataFrame) -> None:
    """What a run does with one batch."""
    sink.write("http", frame)
    sink.flush()


def best(action: Callable[[], object], rounds: int) -> float:
    """Seconds of the fastest round, of processor time: what else runs on the machine counts little."""
    taken = []
    for _ in range(rounds):
        started = time.process_time()
        action()
        taken.append(time.process_time() - started)
    return min(taken)


def report(name: str, seconds: float, events: int) -> None:
    """One line of the result."""
    print(f"{name:32} {seconds / events * 1e6:9.3f} {events / seconds:12,.0f}")


def resident_mb() -> float:
    """Of this process, now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def peak_mb() -> float:
    """Of this process, since its start."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


if __name__ == "__main__":
    main()
