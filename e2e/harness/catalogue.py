"""The images that tests use, built when asked for. What each of them is good for is its docstring."""

from __future__ import annotations

import random

from cri.app.built_image import Entry, Image, Index, Settings, image_of, index_of, layer_of
from cri.app.host_images import busybox_image, host_architecture

PASSWD = b"""root:x:0:0:root:/root:/bin/sh
www-data:x:33:33:www-data:/www:/bin/sh
tester:x:1000:1000:tester:/home:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/false
"""
GROUP = b"""root:x:0:
www-data:x:33:
tester:x:1000:
extra:x:50000:tester
nogroup:x:65534:
"""


def busybox(label: str = "") -> Image:
    """Busybox with a few users; a label makes an image of another ID with the same layers."""
    accounts = (Entry("etc/passwd", PASSWD, mode=0o644), Entry("etc/group", GROUP, mode=0o644))
    labels = {"e2e": label} if label else {}
    return busybox_image(accounts, Settings(command=("sh",), labels=labels))


def configured() -> Image:
    """An image whose configuration sets all that a container inherits: entrypoint, env, user, directory."""
    settings = Settings(
        entrypoint=("sh", "-c"),
        command=('echo "$GREETING from $(id -un) in $PWD"',),
        environment=("PATH=/bin", "GREETING=hello", "KEPT=from image"),
        working_directory="/work/place",
        user="tester",
        stop_signal="SIGUSR1",
    )
    accounts = (Entry("etc/passwd", PASSWD, mode=0o644), Entry("etc/group", GROUP, mode=0o644))
    return busybox_image(accounts, settings)


def scratch(content: bytes, architecture: str = "") -> Image:
    """An image with one small file: nothing in it runs, it is quick to push and pull."""
    layer = layer_of([Entry("content", content, mode=0o644)])
    return image_of([layer], Settings(command=("/content",)), architecture or host_architecture())


def documents() -> Image:
    """Nothing to run, for mounting: files of several owners, a directory below a link, links that lead outside."""
    lower = layer_of(
        [
            Entry("top.txt", b"top\n", mode=0o644),
            Entry("data", mode=0o755, user=1000, group=50000),
            Entry("data/deep", mode=0o755),
            Entry("data/deep/note.txt", b"note\n", mode=0o640, user=1000, group=50000),
            Entry("data/replaced.txt", b"old\n", mode=0o644),
        ]
    )
    upper = layer_of(
        [
            Entry("data/replaced.txt", b"new\n", mode=0o644),
            Entry("inside", symlink="/data/deep"),
            Entry("outside", symlink="../../../../etc"),
        ]
    )
    return image_of([lower, upper], Settings(command=("/none",)), host_architecture())


def with_volumes() -> Image:
    """Busybox with two VOLUMEs: one with files of a user below it, one that the image has nothing for."""
    contents = (
        Entry("var/store", mode=0o750, user=1000, group=50000),
        Entry("var/store/first", b"from the image\n", mode=0o640, user=1000, group=50000),
        Entry("var/store/link", symlink="first"),
        Entry("var/store/twin", hardlink="var/store/first", mode=0o640, user=1000, group=50000),
        Entry("etc/passwd", PASSWD, mode=0o644),
        Entry("etc/group", GROUP, mode=0o644),
    )
    return busybox_image(contents, Settings(command=("sh",), volumes=("/var/store", "/var/empty/")))


def layered(layers: int, layer_bytes: int, seed: int = 1) -> Image:
    """Several layers of random content; each overwrites a file of the one below and deletes another."""
    dice = random.Random(seed)
    stack = []
    for number in range(layers):
        entries = [
            Entry("data", mode=0o755),
            Entry(f"data/{number}", dice.randbytes(layer_bytes), mode=0o644),
            Entry("top", f"layer {number}\n".encode(), mode=0o644),
        ]
        if number:
            entries.append(Entry(f"data/.wh.{number - 1}", b"", mode=0o644))
        stack.append(layer_of(entries))
    return image_of(stack, Settings(command=("/top",)), host_architecture())


def many_platforms(content: bytes) -> Index:
    """An index in which only one manifest is for this host."""
    foreign = {"amd64", "arm64", "s390x"} - {host_architecture()}
    images = [scratch(content + b" for " + name.encode(), name) for name in sorted(foreign)]
    return index_of([*images, scratch(content)])
