"""Tries every program for arm64 in emulated machines, and traces a request there: `make test-arm64`.

Nothing of this machine can run there: their files are a busybox and one static program of the core's.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from vm import kernels, machine

MACHINE = "aarch64"
SECONDS = 1200.0
FOLDERS = ("bin", "dev", "lib", "proc", "run", "sys", "tmp", "objects")


def main() -> int:
    """Run the program in each kernel; 0 when it was content everywhere."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", type=Path, help="try_hooks, linked statically for arm64")
    parser.add_argument("objects", type=Path, help="the folder with the kernel programs for arm64")
    parser.add_argument("--kernel", action="append", choices=list(kernels.SUITES), help="default: all")
    options = parser.parse_args()
    try:
        found = [kernels.get(name, MACHINE) for name in options.kernel or kernels.SUITES]
        passed = [run_in(kernel, options.program, options.objects) for kernel in found]
    except kernels.UnavailableError as error:
        print(f"error: no virtual machine can be had\ncause: {error}", file=sys.stderr)
        return 1
    return int(not all(passed))


def run_in(kernel: kernels.Kernel, program: Path, objects: Path) -> bool:
    """Run *program* in one kernel, show what it says, and tell whether it was content."""
    busybox = kernels.busybox(MACHINE)
    with tempfile.TemporaryDirectory(prefix="arm64-") as name:
        root = Path(name)
        lay_out(root, kernel, program, objects, busybox)
        outcome = machine.run(
            kernel,
            ["/try_hooks", "/objects"],
            environment={"PATH": "/bin"},
            root=root,
            busybox=busybox,
            seconds=SECONDS,
        )
    print(outcome.output)
    print(f"Linux {kernel.release} {MACHINE}: {outcome.why} in {outcome.seconds:.0f} s", flush=True)
    if outcome.exit_code is None:
        print(outcome.console, flush=True)
    return outcome.exit_code == 0


def lay_out(root: Path, kernel: kernels.Kernel, program: Path, objects: Path, busybox: Path) -> None:
    """Make the files of a machine in *root*."""
    for folder in (*FOLDERS, Path.cwd().relative_to("/"), kernel.modules.relative_to("/")):
        (root / folder).mkdir(parents=True, exist_ok=True)
    shutil.copy(busybox, root / "bin" / "busybox")
    (root / "bin" / "sh").symlink_to("busybox")
    shutil.copy(program, root / "try_hooks")
    for file in objects.glob("*.o"):
        shutil.copy(file, root / "objects")


if __name__ == "__main__":
    sys.exit(main())
