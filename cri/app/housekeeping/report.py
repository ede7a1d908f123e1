"""The answers of the housekeeping as text for people. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cri.app.housekeeping.work import CheckValue, LeftoverValue

SHORT = 19
"""sha256: and twelve digits."""


def leftover_lines(found: Sequence[LeftoverValue]) -> str:
    """One line for each leftover, with what was done about it."""
    if not found:
        return "nothing is left over"
    return "\n".join(_leftover_line(each) for each in found)


def check_lines(found: CheckValue) -> str:
    """Contradictions, then leftovers."""
    lines = [
        f"{each['object']} {each['id'][:13]} ({each['name']}): {each['text']}" for each in found["problems"]
    ]
    lines += [_leftover_line(each) for each in found["leftovers"]]
    return "\n".join(lines) or "everything is as it should be"


def disk_lines(found: Mapping[str, object]) -> str:
    """A tree for each snapshotter: images, layers, containers."""
    return "\n".join(
        line
        for name, report in found.items()
        for line in _snapshotter_lines(name, cast("Mapping[str, object]", report))
    )


def human_bytes(size: int) -> str:
    """1536 as 1.5 KiB."""
    amount = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def human_age(seconds: float) -> str:
    """5400 as 1.5 h."""
    for limit, divisor, unit in ((60, 1, "s"), (3600, 60, "min"), (86400, 3600, "h")):
        if seconds < limit:
            return f"{seconds / divisor:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"


def _leftover_line(each: LeftoverValue) -> str:
    facts = []
    if each["age_seconds"] is not None:
        facts.append(human_age(each["age_seconds"]))
    if each["size"] is not None:
        facts.append(human_bytes(each["size"]))
    told = f" ({', '.join(facts)})" if facts else ""
    done = {"": "", "removed": " - removed"}.get(each["outcome"], f" - not removed: {each['outcome']}")
    return f"{each['kind']} {each['name']}{told}: {each['reason']}{done}"


def _snapshotter_lines(name: str, report: Mapping[str, object]) -> Iterator[str]:
    yield f"{name}: {human_bytes(cast('int', report['total']))}"
    for image in cast("Sequence[Mapping[str, object]]", report["images"]):
        names = ", ".join(cast("Sequence[str]", image["names"])) or "(no name)"
        sizes = f"{_size(image, 'size')} in layers, {_size(image, 'packed')} packed"
        pinned = ", pinned" if image["pinned"] else ""
        short = str(image["id"])[:SHORT]
        yield f"  {short} {names}: {sizes}, removal frees {_size(image, 'freed')} of layers{pinned}"
        for layer in cast("Sequence[Mapping[str, object]]", image["layers"]):
            shared = f", shared by {layer['images']} images" if cast("int", layer["images"]) > 1 else ""
            yield f"    layer {str(layer['chain_id'])[:SHORT]} {_size(layer, 'size')}{shared}"
        for container in cast("Sequence[Mapping[str, object]]", image["containers"]):
            yield f"    {str(container['id'])[:13]} {container['name']} has written {_size(container, 'size')}"
    for stray in cast("Sequence[Mapping[str, object]]", report["strays"]):
        yield f"  snapshot {stray['key']} of no image: {_size(stray, 'size')}"


def _size(of: Mapping[str, object], key: str) -> str:
    return human_bytes(cast("int", of[key]))
