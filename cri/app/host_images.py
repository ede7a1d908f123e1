"""Images made from what is on the host: its static busybox, and a pause program that needs nothing at all.

They stand in for images from a registry where none can be reached. Building one takes milliseconds.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from cri.app.built_image import MACHINE_ARCHITECTURES, Entry, Image, Settings, image_of, layer_of
from cri.app.pause_program import PAUSE_SCRIPT, pause_program
from cri.errors import FailedPrecondition

PROGRAM_INTERPRETER = 3
"""Type of the program header (elf(5)) that only a dynamically linked executable has."""

DIRECTORIES = (
    Entry("bin"),
    Entry("dev"),
    Entry("etc"),
    Entry("home"),
    Entry("proc"),
    Entry("root", mode=0o700),
    Entry("sys"),
    Entry("tmp", mode=0o1777),
    Entry("usr"),
    Entry("usr/bin", symlink="../bin"),
    Entry("usr/sbin", symlink="../bin"),
    Entry("sbin", symlink="bin"),
    Entry("var"),
    Entry("www"),
)
ACCOUNTS = (
    Entry(
        "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n", mode=0o644
    ),
    Entry("etc/group", b"root:x:0:\nnogroup:x:65534:\n", mode=0o644),
)


def host_architecture() -> str:
    """The host's architecture as the image specification names it."""
    machine = os.uname().machine
    return MACHINE_ARCHITECTURES.get(machine, machine)


def host_busybox() -> Path:
    """The host's statically linked busybox. Raises FailedPrecondition naming the package if there is none."""
    for name in ("busybox", "busybox-static"):
        found = shutil.which(name)
        if found is not None and is_static(Path(found).read_bytes()):
            return Path(found)
    raise FailedPrecondition(
        "no statically linked busybox on PATH: install it (Debian: apt-get install busybox-static)"
    )


def is_static(program: bytes) -> bool:
    """True for a 64-bit ELF executable without a program interpreter."""
    if program[:5] != b"\x7fELF\x02":
        return False
    table = int.from_bytes(program[32:40], "little")
    size, count = (int.from_bytes(program[at : at + 2], "little") for at in (54, 56))
    kinds = (program[table + size * index : table + size * index + 4] for index in range(count))
    return all(int.from_bytes(kind, "little") != PROGRAM_INTERPRETER for kind in kinds)


def busybox_entries(program: Path) -> list[Entry]:
    """A root file system in which every applet of busybox is a hard link to it."""
    listed = subprocess.run([program, "--list"], check=True, capture_output=True, text=True)
    applets = [name for name in listed.stdout.split() if name != "busybox"]
    links = [Entry(f"bin/{name}", hardlink="bin/busybox") for name in applets]
    return [*DIRECTORIES, *ACCOUNTS, Entry("bin/busybox", program.read_bytes()), *links]


def busybox_image(more: tuple[Entry, ...] = (), settings: Settings | None = None) -> Image:
    """Busybox with a shell as its command; `more` entries become a second layer.

    Blocks for some tens of milliseconds (it compresses 2 MB). Raises FailedPrecondition without busybox.
    """
    layers = [layer_of(busybox_entries(host_busybox()))]
    if more:
        layers.append(layer_of(more))
    return image_of(layers, settings or Settings(command=("sh",)), host_architecture())


def pause_image(label: str = "") -> Image:
    """The image of a sandbox container; a `label` makes an image of another ID from the same program."""
    program = pause_program(os.uname().machine)
    labels = {"cri-shim.pause": label} if label else {}
    if program is None:
        settings = Settings(entrypoint=("/bin/sh", "-c", PAUSE_SCRIPT), labels=labels)
        return busybox_image(settings=settings)
    layer = layer_of([Entry("pause", program)])
    return image_of([layer], Settings(entrypoint=("/pause",), labels=labels), host_architecture())
