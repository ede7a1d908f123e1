"""Reading specs in tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cri.oci.spec import Spec


def mount_at(spec: Spec, destination: str) -> Any:
    """The only mount at `destination`."""
    found = [mount for mount in spec["mounts"] if mount["destination"] == destination]
    assert len(found) == 1, f"{destination} is mounted {len(found)} times: {spec['mounts']}"
    return found[0]


def namespace_paths(spec: Spec) -> dict[str, str | None]:
    """Path by type; None for a new namespace."""
    namespaces = spec["linux"]["namespaces"]
    assert len({namespace["type"] for namespace in namespaces}) == len(namespaces), "a type occurs twice"
    return {namespace["type"]: namespace.get("path") for namespace in namespaces}
