"""From a root file system's tar on standard input to an OCI image layout's on standard output.

archive.py NAME

A root whose compiled modules Python would pass over is refused: the server would start twice as slowly.
"""

from __future__ import annotations

import importlib.util
import io
import sys
import tarfile

from cri.app.built_image import Settings, image_of, layer_from_tar, layout_archive
from cri.app.contained.specification import PATH
from cri.app.host_images import host_architecture

COMPRESSION = 6
SHOWN = 5


def main() -> None:
    """Read, build, write."""
    root = sys.stdin.buffer.read()
    if stale := stale_bytecode(root):
        sys.exit(f"{len(stale)} compiled modules are not of their sources' time, among them {stale[:SHOWN]}")
    layer = layer_from_tar(root, COMPRESSION)
    settings = Settings(entrypoint=("cri-shim",), command=("serve",), environment=(f"PATH={PATH}",))
    image = image_of([layer], settings, host_architecture())
    sys.stdout.buffer.write(layout_archive({sys.argv[1]: image}))


def stale_bytecode(root: bytes) -> list[str]:
    """Compiled modules in a tar that name another time of their source than it has there (the header is PEP 552's).

    Those that name a hash of the source, or whose source is not there, are not among them.
    """
    stale = []
    with tarfile.open(fileobj=io.BytesIO(root)) as archive:
        members = {member.name: member for member in archive}
        for name, member in members.items():
            if not name.endswith(".pyc") or "/__pycache__/" not in name:
                continue
            source = members.get(importlib.util.source_from_cache(name))
            compiled = archive.extractfile(member)
            assert compiled is not None
            header = compiled.read(12)
            flags, time = (int.from_bytes(header[at : at + 4], "little") for at in (4, 8))
            if source is not None and not flags and time != int(source.mtime):
                stale.append(name)
    return stale


if __name__ == "__main__":
    main()
