"""CNI configurations and plugins that a test puts on a node, and takes away again."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from api.wire import criv1
from e2e.harness.eventually import eventually
from e2e.harness.node import Node

RECORDER = """\
#!{python}
import json, os, sys
given = json.load(sys.stdin)
with open({journal!r}, "a") as journal:
    entry = {{name: value for name, value in os.environ.items() if name.startswith("CNI_")}}
    journal.write(json.dumps({{"environment": entry, "configuration": given}}) + "\\n")
if os.environ["CNI_COMMAND"] == "VERSION":
    print(json.dumps({{"cniVersion": "0.4.0", "supportedVersions": ["0.3.1", "0.4.0"]}}))
elif os.environ["CNI_COMMAND"] == "ADD":
    print(json.dumps(given["prevResult"]))
"""

FAILS_FIRST_DELETE = """\
elif not os.path.exists({marker!r}):
    open({marker!r}, "w").close()
    print(json.dumps({{"code": 11, "msg": "not now"}}))
    sys.exit(1)
"""

SCRIPT = """\
#!/bin/sh
case "$CNI_COMMAND" in
VERSION) echo '{"cniVersion": "0.4.0", "supportedVersions": ["0.3.1", "0.4.0"]}' ;;
%s
esac
"""


@contextlib.contextmanager
def plugin(node: Node, name: str, text: str) -> Iterator[None]:
    """A CNI plugin with this text."""
    program = Path(node.settings.cni_bin_dir, name)
    program.write_text(text)
    program.chmod(0o755)
    try:
        yield
    finally:
        program.unlink()


def recorder(journal: Path) -> str:
    """A plugin for the end of a chain: it writes down what it is given and passes the result on."""
    return RECORDER.format(python=sys.executable, journal=str(journal))


def stubborn(journal: Path) -> str:
    """A recorder that fails the first DEL it is asked for, and only that."""
    return recorder(journal) + FAILS_FIRST_DELETE.format(marker=f"{journal}.asked")


def recorded(journal: Path, command: str) -> list[dict[str, dict[str, object]]]:
    """What the recorder saw at each call of a command (ADD, DEL)."""
    entries = [json.loads(line) for line in journal.read_text().splitlines()]
    return [entry for entry in entries if entry["environment"]["CNI_COMMAND"] == command]


def script(cases: str) -> str:
    """A shell plugin with these `case` branches over CNI_COMMAND."""
    return SCRIPT % cases


@contextlib.asynccontextmanager
async def preferred_network(node: Node, name: str, *plugins: dict[str, object]) -> AsyncIterator[None]:
    """A network list that comes before the node's own, in effect while the block runs."""
    document = {"cniVersion": "0.4.0", "name": name, "plugins": list(plugins)}
    async with configuration_file(node, "00-test.conflist", json.dumps(document)):
        await eventually(
            lambda: verbose_status(node), lambda seen: f"{name}" in str(dict(seen.info)), f"{name} in effect"
        )
        yield


@contextlib.asynccontextmanager
async def configuration_file(node: Node, name: str, content: str) -> AsyncIterator[None]:
    """A file in the configuration directory; afterwards the node's own network is in effect again."""
    directory = Path(node.settings.cni_conf_dir)
    unfinished = directory / "unfinished"
    unfinished.write_text(content)
    unfinished.rename(directory / name)
    try:
        yield
    finally:
        (directory / name).unlink()
        await network_ready(node)


@contextlib.asynccontextmanager
async def no_configuration(node: Node) -> AsyncIterator[None]:
    """An empty configuration directory."""
    own = node.containerd.layout.cni_conf_file
    aside = own.parent.parent / own.name
    os.rename(own, aside)
    try:
        yield
    finally:
        os.rename(aside, own)
        await network_ready(node)


async def network_ready(node: Node) -> None:
    """Wait until the node's own network is in effect."""
    own = f"cri-shim-{node.containerd.layout.fingerprint}"
    await eventually(
        lambda: verbose_status(node),
        lambda seen: network_condition(seen).status and own in str(dict(seen.info)),
        f"network {own} in effect",
    )


async def network_not_ready(node: Node) -> str:
    """Wait until NetworkReady is false, and return its message."""
    seen = await eventually(
        lambda: verbose_status(node), lambda seen: not network_condition(seen).status, "NetworkReady false"
    )
    return network_condition(seen).message


async def verbose_status(node: Node) -> criv1.StatusResponse:
    """The runtime's status with its info."""
    return await node.cri.runtime.Status(criv1.StatusRequest(verbose=True))


def network_condition(answer: criv1.StatusResponse) -> criv1.RuntimeCondition:
    """NetworkReady."""
    return next(condition for condition in answer.status.conditions if condition.type == "NetworkReady")
