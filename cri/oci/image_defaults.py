"""The part of an image's configuration that shapes a container (OCI image-spec, config.md)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ImageDefaults:
    """What the image says; the request overrides it field by field."""

    #: `user`, `uid`, `user:group`, `uid:gid` or a mixture.
    user: str = ""
    #: KEY=value.
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    working_dir: str = ""
    #: Paths of the image's VOLUMEs.
    volumes: tuple[str, ...] = ()
    #: Name or number of the signal that stops the main process.
    stop_signal: str = ""
