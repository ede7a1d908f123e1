"""The pod networks of this node: the node's own, and one for each runtime handler with a CNI directory of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cri.container.handlers import Handler
    from cri.network.pod_network import PodNetwork
    from cri.network.settings import IpPreference


@dataclass(frozen=True, slots=True)
class Networks:
    """Pod networks by runtime handler name, and the one for all other handlers."""

    default: PodNetwork
    by_handler: Mapping[str, PodNetwork] = field(default_factory=dict)
    ip_pref: IpPreference = "ipv4"

    def of(self, handler: Handler) -> PodNetwork:
        """The network that pods of `handler` are attached to."""
        return self.by_handler.get(handler.name, self.default)

    def __iter__(self) -> Iterator[PodNetwork]:
        yield self.default
        yield from self.by_handler.values()
