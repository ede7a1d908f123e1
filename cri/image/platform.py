"""Which platforms there are, and which of them run on this machine. Pure, but for `host_platform`.

Names are Go's (OCI image-spec, image-index.md). An image for an older variant of the machine's architecture
runs too, and so do 32-bit images on amd64 and arm64; the best match wins.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from cri.errors import InvalidArgument

_MACHINES = {
    "x86_64": ("amd64", ""),
    "amd64": ("amd64", ""),
    "i386": ("386", ""),
    "i586": ("386", ""),
    "i686": ("386", ""),
    "aarch64": ("arm64", ""),
    "armv8l": ("arm", "v8"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "armv5tel": ("arm", "v5"),
    "loongarch64": ("loong64", ""),
}
_SAME_AS_NONE = {("amd64", "v1"), ("arm64", "v8"), ("arm64", "8")}
_ARM_VARIANTS = ("v8", "v7", "v6", "v5")


@dataclass(frozen=True, slots=True)
class Platform:
    """What an image is built for; `variant` is "" for the usual one of the architecture."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))


def host_platform() -> Platform:
    """The platform of the machine that this process runs on."""
    machine = os.uname().machine
    architecture, variant = _MACHINES.get(machine, (machine, ""))
    return Platform("linux", architecture, variant)


def parse_platform(text: str) -> Platform:
    """`linux/arm64` or `linux/arm/v7` as a value. Raises InvalidArgument."""
    parts = text.split("/")
    if len(parts) not in (2, 3) or not all(parts):
        raise InvalidArgument(f"platform {text!r} is not os/architecture or os/architecture/variant")
    return normalised(Platform(*parts))


def normalised(platform: Platform) -> Platform:
    """The same platform in one spelling: `arm64/v8` is `arm64`, `arm` is `arm/v7`."""
    architecture, variant = _MACHINES.get(platform.architecture.lower(), (platform.architecture.lower(), ""))
    variant = platform.variant.lower() or variant
    if architecture == "arm":
        variant = variant if variant.startswith("v") or not variant else f"v{variant}"
        variant = variant or "v7"
    if (architecture, variant) in _SAME_AS_NONE:
        variant = ""
    return Platform(platform.os.lower(), architecture, variant)


def runnable(host: Platform) -> list[Platform]:
    """Everything that runs on `host`, best first."""
    best = normalised(host)
    order = [best]
    if best.variant and best.architecture != "arm":
        order.append(Platform(best.os, best.architecture))
    if best.architecture == "amd64":
        order.append(Platform(best.os, "386"))
    if best.architecture in ("arm", "arm64"):
        older: tuple[str, ...] = _ARM_VARIANTS
        if best.architecture == "arm" and best.variant in older:
            older = older[older.index(best.variant) + 1 :]
        order.extend(Platform(best.os, "arm", variant) for variant in older)
    return order
