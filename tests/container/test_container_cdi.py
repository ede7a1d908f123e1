"""CDI specification files are followed, and read again for a device that is not known."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from api.wire import criv1
from cri.container.cdi import CdiDevices, nodes_of, problems
from cri.oci.settings import OciSettings
from tests.double import until


def write(directory: Path, name: str, device: str, **edits: object) -> None:
    directory.mkdir(exist_ok=True)
    document = {
        "cdiVersion": "0.6.0",
        "kind": "vendor.test/thing",
        "devices": [{"name": device, "containerEdits": edits or {"env": ["A=1"]}}],
    }
    (directory / name).write_text(json.dumps(document))


def asking(*devices: str) -> criv1.ContainerConfig:
    return criv1.ContainerConfig(
        CDI_devices=[criv1.CDIDevice(name=f"vendor.test/thing={name}") for name in devices]
    )


async def test_a_device_whose_file_was_just_written_is_found(tmp_path: Path):
    devices = CdiDevices([str(tmp_path / "cdi")])
    assert await devices.registry_for(criv1.ContainerConfig(), OciSettings()) is None
    write(tmp_path / "cdi", "a.json", "new")
    registry = await devices.registry_for(asking("new"), OciSettings())
    assert registry is not None
    assert "vendor.test/thing=new" in registry.devices


async def test_directories_are_followed(tmp_path: Path):
    devices = CdiDevices([str(tmp_path / "static"), str(tmp_path / "dynamic")])
    async with asyncio.TaskGroup() as group:
        following = group.create_task(devices.run())
        write(tmp_path / "static", "a.json", "one")
        await until(lambda: "vendor.test/thing=one" in devices.registry.devices)
        write(tmp_path / "static", "b.json", "one")
        await until(lambda: bool(problems(devices.registry)))
        (tmp_path / "static" / "b.json").unlink()
        await until(lambda: not problems(devices.registry))
        following.cancel()


async def test_problems_are_one_line_each(tmp_path: Path):
    write(tmp_path, "a.json", "same")
    write(tmp_path, "b.json", "same")
    (tmp_path / "c.yaml").write_text("cdiVersion: [")
    (tmp_path / "notes.txt").write_text("no specification")
    (tmp_path / "directory.json").mkdir()
    conflict, broken = problems(await CdiDevices([str(tmp_path)]).read())
    assert conflict == f"vendor.test/thing=same is in {tmp_path}/a.json and {tmp_path}/b.json"
    assert "c.yaml" in broken


async def test_nodes_that_a_file_leaves_open_are_the_hosts(tmp_path: Path):
    write(tmp_path, "a.json", "null", deviceNodes=[{"path": "/dev/mine", "hostPath": "/dev/null"}])
    registry = await CdiDevices([str(tmp_path)]).read()
    found = await nodes_of(asking("null"), registry, OciSettings())
    assert (found["/dev/null"].type, found["/dev/null"].major, found["/dev/null"].minor) == ("c", 1, 3)


async def test_switched_off_nothing_is_read(tmp_path: Path):
    write(tmp_path, "a.json", "new")
    devices = CdiDevices([str(tmp_path)])
    assert await devices.registry_for(asking("new"), OciSettings(enable_cdi=False)) is None
