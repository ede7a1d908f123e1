"""Scripted CNI plugins: small shell programs that note how they were called and answer as a test wants."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from cri.network.settings import NetworkSettings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RESULT = {
    "cniVersion": "1.0.0",
    "interfaces": [{"name": "eth0", "mac": "aa:bb:cc:dd:ee:ff", "sandbox": "/run/netns/x"}],
    "ips": [{"address": "10.1.2.3/24", "gateway": "10.1.2.1", "interface": 0}],
    "routes": [{"dst": "0.0.0.0/0"}],
}


@dataclass
class ScriptedPlugins:
    """A plugin directory, a configuration directory and the calls that were made."""

    root: Path

    def __post_init__(self) -> None:
        for directory in (self.bin_dir, self.conf_dir, self.calls_dir):
            directory.mkdir()

    @property
    def bin_dir(self) -> Path:
        return self.root / "bin"

    @property
    def conf_dir(self) -> Path:
        return self.root / "net.d"

    @property
    def calls_dir(self) -> Path:
        return self.root / "calls"

    def settings(self, **changes: object) -> NetworkSettings:
        values: dict[str, object] = {
            "bin_dirs": (self.bin_dir,),
            "conf_dir": self.conf_dir,
            "cache_dir": self.root / "cache",
            "plugin_timeout_seconds": 20.0,
        }
        return NetworkSettings(**(values | changes))  # type: ignore[arg-type]

    def plugin(self, name: str, body: str = "", result: object = RESULT) -> Path:
        """A program that notes its call, runs `body`, and on ADD prints `result`."""
        script = f"""#!/bin/sh
stdin=$(cat)
env | grep ^CNI_ > {self.calls_dir}/{name}-$CNI_COMMAND-$CNI_IFNAME.env
printf %s "$stdin" > {self.calls_dir}/{name}-$CNI_COMMAND-$CNI_IFNAME.json
echo "{name} $CNI_COMMAND $CNI_IFNAME" >> {self.calls_dir}/order
{body}
if [ "$CNI_COMMAND" = ADD ]; then cat <<'RESULT'
{json.dumps(result)}
RESULT
fi
"""
        path = self.bin_dir / name
        path.write_text(script)
        path.chmod(0o755)
        return path

    def network(self, file: str, name: str, *plugins: object, version: str = "1.0.0", **more: object) -> Path:
        """A configuration file; a plugin given by name only has nothing but its type."""
        listed = [{"type": plugin} if isinstance(plugin, str) else plugin for plugin in plugins]
        path = self.conf_dir / file
        path.write_text(json.dumps({"cniVersion": version, "name": name, "plugins": listed, **more}))
        return path

    def order(self) -> list[str]:
        """The calls so far: "<plugin> <verb> <interface>"."""
        try:
            return [line.strip() for line in (self.calls_dir / "order").read_text().splitlines()]
        except FileNotFoundError:
            return []

    def stdin(self, plugin: str, verb: str, interface: str = "eth0") -> dict[str, object]:
        """What the plugin read in its last call with this verb."""
        found: dict[str, object] = json.loads(
            (self.calls_dir / f"{plugin}-{verb}-{interface}.json").read_text()
        )
        return found

    def environment(self, plugin: str, verb: str, interface: str = "eth0") -> dict[str, str]:
        """The CNI_ variables of the plugin's last call with this verb."""
        lines = (self.calls_dir / f"{plugin}-{verb}-{interface}.env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)


async def eventually(true: Callable[[], bool], otherwise: str, seconds: float = 10.0) -> None:
    """Wait for something that another process does and that nobody announces."""
    try:
        async with asyncio.timeout(seconds):
            while not true():  # noqa: ASYNC110 - see above
                await asyncio.sleep(0.01)
    except TimeoutError:
        pytest.fail(otherwise)
