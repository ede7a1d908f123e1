"""From a root file system's tar on standard input to an OCI image layout's on standard output.

archive.py NAME
"""

from __future__ import annotations

import sys

from cri.app.built_image import Settings, image_of, layer_from_tar, layout_archive
from cri.app.contained.specification import PATH
from cri.app.host_images import host_architecture

COMPRESSION = 6


def main() -> None:
    """Read, build, write."""
    layer = layer_from_tar(sys.stdin.buffer.read(), COMPRESSION)
    settings = Settings(entrypoint=("cri-shim",), command=("serve",), environment=(f"PATH={PATH}",))
    image = image_of([layer], settings, host_architecture())
    sys.stdout.buffer.write(layout_archive({sys.argv[1]: image}))


if __name__ == "__main__":
    main()
