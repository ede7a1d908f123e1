"""The CNI configuration made from the node's pod CIDRs: checking them, rendering, writing the file.

The file's name, the template's values and when it is written are containerd's, so that either server finds
the other's file: only while no other configuration makes the network ready. A file that was rendered before
is rendered again when the CIDRs change (a node that joined anew), which containerd leaves to the operator.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from cri.errors import FailedPrecondition, InvalidArgument
from cri.linux.files import write_atomically
from cri.network.configuration import parse_list
from cri.network.template import render_template
from cri.network.template_functions import TemplateError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

RENDERED_NAME = "10-containerd-net.conflist"
_DEFAULT_ROUTES = {4: "0.0.0.0/0", 6: "::/0"}


def checked_cidrs(cidrs: Sequence[str]) -> tuple[str, ...]:
    """The CIDRs in canonical form, blank ones left out. Raises InvalidArgument."""
    checked: list[str] = []
    for text in cidrs:
        if not text.strip():
            continue
        try:
            if "/" not in text:
                raise ValueError(f"{text!r} has no prefix length")
            checked.append(str(ipaddress.ip_network(text.strip(), strict=False)))
        except ValueError as error:
            raise InvalidArgument(f"runtime_config.network_config.pod_cidr: {error}") from None
    return tuple(checked)


def render_configuration(template: Path, cidrs: Sequence[str]) -> bytes:
    """The network list that the template makes of these CIDRs. Blocking. Raises FailedPrecondition.

    `.PodCIDR` is the first CIDR, `.PodCIDRRanges` all of them, `.Routes` a default route for each family.
    """
    families = {ipaddress.ip_network(cidr).version for cidr in cidrs}
    routes = [_DEFAULT_ROUTES[family] for family in sorted(families)]
    try:
        text = template.read_text(encoding="utf-8")
        rendered = render_template(text, {"PodCIDR": cidrs[0], "PodCIDRRanges": [*cidrs], "Routes": routes})
    except (OSError, UnicodeError, TemplateError) as error:
        raise FailedPrecondition(f"CNI configuration template {template}: {error}") from None
    data = rendered.encode()
    parse_list(data, f"CNI configuration rendered from {template}")
    return data


def write_rendered(conf_dir: Path, data: bytes) -> bool:
    """Put the rendered list into the configuration directory. Blocking. False if it is there already.

    Raises FailedPrecondition when it cannot be written.
    """
    path = conf_dir / RENDERED_NAME
    try:
        if path.is_file() and path.read_bytes() == data:
            return False
        conf_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
        write_atomically(path, data, 0o644)
    except OSError as error:
        raise FailedPrecondition(f"cannot write CNI configuration {path}: {error.strerror}") from error
    return True
