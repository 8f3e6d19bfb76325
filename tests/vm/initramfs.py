"""What a virtual machine starts with: busybox, modules to reach the host's files, scripts, the command."""

from __future__ import annotations

import lzma
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from vm.kernels import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vm.kernels import Kernel

HERE = Path(__file__).resolve().parent
# Some kernels have these built in.
NEEDED_MODULES = ("virtio_pci", "virtio_console", "virtiofs", "overlay")


def write(
    kernel: Kernel,
    command: Sequence[str],
    environment: Mapping[str, str],
    folder: Path,
    busybox: Path | None = None,
) -> Path:
    """Write the initramfs for *kernel* that runs *command* in *folder*'s guest, and return its path."""
    root = folder / "initramfs"
    for name in ("bin", "dev", "modules"):
        (root / name).mkdir(parents=True)
    shutil.copy(busybox or _busybox(), root / "bin" / "busybox")
    (root / "bin" / "sh").symlink_to("busybox")
    _copy_modules(kernel, root / "modules")
    shutil.copy(HERE / "initramfs.sh", root / "init")
    shutil.copy(HERE / "init-guest.sh", root)
    (root / "settings").write_text(f"KERNEL_MODULES={shlex.quote(str(kernel.modules))}\n", encoding="utf-8")
    (root / "command.sh").write_text(_script(command, environment), encoding="utf-8")
    (root / "init").chmod(0o755)
    return _archive(root)


def _busybox() -> Path:
    found = shutil.which("busybox")
    if not found:
        raise UnavailableError("busybox is missing: apt-get install busybox-static")
    return Path(found)


def _script(command: Sequence[str], environment: Mapping[str, str]) -> str:
    exports = [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]
    return "\n".join(
        [*exports, f"cd {shlex.quote(str(Path.cwd()))} || exit 125", f"exec {shlex.join(command)}\n"]
    )


def _copy_modules(kernel: Kernel, to: Path) -> None:
    order = _load_order(kernel)
    for module in order:
        packed = (kernel.modules / module).read_bytes()
        raw = lzma.decompress(packed) if module.suffix == ".xz" else packed
        (to / _plain(module)).write_bytes(raw)
    (to / "order").write_text("".join(f"{_plain(module)}\n" for module in order), encoding="ascii")


def _plain(module: Path) -> str:
    return module.name.removesuffix(".xz")


def _load_order(kernel: Kernel) -> list[Path]:
    """Return the files of the needed modules, each behind those that it depends on."""
    depends = {}
    for line in (kernel.modules / "modules.dep").read_text(encoding="ascii").splitlines():
        file, _, others = line.partition(":")
        depends[Path(file).name.partition(".")[0]] = (Path(file), [Path(other) for other in others.split()])
    order: list[Path] = []
    for name in NEEDED_MODULES:
        if name in depends:
            file, others = depends[name]
            order += [other for other in [*reversed(others), file] if other not in order]
    return order


def _archive(root: Path) -> Path:
    archive = root.with_suffix(".cpio")
    names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    with archive.open("wb") as file:
        subprocess.run(
            ["busybox", "cpio", "-o", "-H", "newc"],
            cwd=root,
            input=names.encode(),
            stdout=file,
            stderr=subprocess.DEVNULL,
            check=True,
        )
    return archive
