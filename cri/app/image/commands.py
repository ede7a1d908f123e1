"""The command line of `cri-shim image`."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
from typing import IO, TYPE_CHECKING, TypeVar

import click

from api.containerd import Client, ContainerdError
from api.wire import criv1 as cri
from cri.app.image.exporting import export_images
from cri.app.image.importing import import_archive
from cri.app.image.progress import megabytes
from cri.app.image.pull import Wanted
from cri.app.image.pull import pull as pull_image
from cri.app.pod.listing import table
from cri.app.pod.node import DEFAULT_ENDPOINT, ENDPOINT_VARIABLE, Node, connect
from cri.errors import InvalidArgument, NotFound, Unavailable
from cri.observe.logging import set_up_logging

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

DEFAULT_CONTAINERD = "/run/containerd/containerd.sock"
SHORT_ID = 13
HEADINGS = ("IMAGE", "TAG", "ID", "SIZE", "PINNED")

_endpoint = click.option(
    "--endpoint",
    metavar="SOCKET",
    help=f"The CRI server; default {DEFAULT_ENDPOINT} or ${ENDPOINT_VARIABLE}.",
)
_containerd = click.option(
    "--containerd", metavar="SOCKET", help="Socket of containerd; default the one that the CRI server uses."
)


@click.group()
def group() -> None:
    """Pull, list and remove images through the CRI socket; import and export them through containerd."""
    set_up_logging("warning", "text")


@group.command()
@click.argument("reference", metavar="REF")
@_endpoint
@_containerd
@click.option("--runtime-handler", metavar="NAME", default="", help="Pull for this handler's snapshotter.")
@click.option("--user", metavar="NAME", help="User at the registry; the password is asked for.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
def pull(
    reference: str,
    endpoint: str | None,
    containerd: str | None,
    runtime_handler: str,
    user: str | None,
    password_stdin: bool,  # noqa: FBT001
) -> None:
    """Pull REF, showing each layer, and report what it took."""
    wanted = Wanted(reference, runtime_handler, _auth(user, password_stdin=password_stdin))

    async def work(node: Node) -> str:
        return await pull_image(node, containerd or await _containerd_of(node), wanted, sys.stdout)

    click.echo(f"image    {_with_node(endpoint, work)}")


@group.command()
@click.argument("reference", metavar="REF", required=False, default="")
@_endpoint
def ls(reference: str, endpoint: str | None) -> None:
    """List images, or the one that REF stands for."""

    async def work(node: Node) -> list[cri.Image]:
        request = cri.ListImagesRequest(filter=cri.ImageFilter(image=cri.ImageSpec(image=reference)))
        return list((await node.call(node.client.image.ListImages, request)).images)

    rows = [row for image in _with_node(endpoint, work) for row in _rows(image)]
    click.echo(table([HEADINGS, *sorted(rows)]))


@group.command()
@click.argument("references", metavar="REF...", nargs=-1, required=True)
@_endpoint
def rm(references: tuple[str, ...], endpoint: str | None) -> None:
    """Remove images with all of their names. An image that is not there is an error, unlike in CRI."""

    async def work(node: Node) -> None:
        for reference in references:
            spec = cri.ImageSpec(image=reference)
            status = await node.call(node.client.image.ImageStatus, cri.ImageStatusRequest(image=spec))
            if not status.HasField("image"):
                raise NotFound(f"no image {reference}")
            await node.call(node.client.image.RemoveImage, cri.RemoveImageRequest(image=spec))
            click.echo(f"removed {reference}")

    _with_node(endpoint, work)


@group.command(name="import")
@click.argument("archive", type=click.Path(dir_okay=False, allow_dash=True))
@_endpoint
@_containerd
@click.option(
    "--name", "base", metavar="REPOSITORY", default="", help="For images of which the archive has only a tag."
)
def import_(archive: str, endpoint: str | None, containerd: str | None, base: str) -> None:
    """Import the images of ARCHIVE (OCI layout or docker save; - for standard input)."""

    async def work(client: Client) -> list[str]:
        with _seekable(archive) as source:
            return await import_archive(client, source, base)

    for name in _with_containerd(endpoint, containerd, work):
        click.echo(f"imported {name}")


@group.command()
@click.argument("references", metavar="REF...", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    type=click.File("wb", atomic=True),
    required=True,
    help="The archive to write; - for standard output.",
)
@_endpoint
@_containerd
def export(
    references: tuple[str, ...], output: IO[bytes], endpoint: str | None, containerd: str | None
) -> None:
    """Export images as an OCI layout in a tar."""
    _with_containerd(endpoint, containerd, lambda client: export_images(client, references, output))


def _rows(image: cri.Image) -> list[tuple[str, ...]]:
    """One row a tag; an image without any is shown by its digests, else by nothing but its id."""
    shown = (
        image.id.removeprefix("sha256:")[:SHORT_ID],
        megabytes(image.size),
        "yes" if image.pinned else "",
    )
    if not image.repo_tags:
        names = [digest.partition("@")[0] for digest in image.repo_digests] or ["-"]
        return [(name, "-", *shown) for name in sorted(set(names))]
    return [(name, tag, *shown) for name, _, tag in (each.rpartition(":") for each in image.repo_tags)]


def _auth(user: str | None, *, password_stdin: bool) -> cri.AuthConfig | None:
    if user is None:
        if password_stdin:
            raise InvalidArgument("--password-stdin needs --user")
        return None
    password = (
        sys.stdin.readline().rstrip("\n") if password_stdin else click.prompt("Password", hide_input=True)
    )
    return cri.AuthConfig(username=user, password=password)


def _seekable(path: str) -> IO[bytes]:
    """The file; standard input is kept in a temporary one, since archives are read in two passes."""
    if path != "-":
        try:
            return open(path, "rb")
        except OSError as error:
            raise InvalidArgument(f"{path}: {error.strerror}") from error
    kept = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    shutil.copyfileobj(sys.stdin.buffer, kept)
    kept.seek(0)
    return kept


def _with_node(endpoint: str | None, work: Callable[[Node], Awaitable[T]]) -> T:
    async def connected() -> T:
        async with connect(endpoint) as node:
            return await work(node)

    return asyncio.run(connected())


def _with_containerd(
    endpoint: str | None, containerd: str | None, work: Callable[[Client], Awaitable[T]]
) -> T:
    async def connected() -> T:
        address = containerd
        if address is None:
            async with connect(endpoint) as node:
                address = await _containerd_of(node)
        async with Client(address) as client:
            try:
                return await work(client)
            except ContainerdError as error:
                raise Unavailable(f"{error}") from error

    return asyncio.run(connected())


async def _containerd_of(node: Node) -> str:
    """The containerd that a server says it uses, else the usual one."""
    status = await node.call(node.client.runtime.Status, cri.StatusRequest(verbose=True))
    try:
        address = json.loads(status.info["config"])["containerdEndpoint"]
    except (KeyError, ValueError, TypeError):
        return DEFAULT_CONTAINERD
    return str(address or DEFAULT_CONTAINERD)
