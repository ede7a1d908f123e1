"""What runs in a container: arguments, environment and working directory, from request and image."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cri.errors import InvalidArgument
from cri.oci.refusals import bad_value, check_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from api.wire import criv1
    from cri.oci.image_defaults import ImageDefaults

#: What a terminal's programs expect; an image or a request may say otherwise.
TERM = "TERM=xterm"

_ESCAPED_BYTES = re.compile("[\udc80-\udcff]")


def arguments(config: criv1.ContainerConfig, image: ImageDefaults) -> list[str]:
    """The process's arguments: `command` replaces the image's entrypoint and cmd, `args` replaces cmd.

    Raises InvalidArgument when neither request nor image name a program.
    """
    if config.command:
        args = [*config.command, *config.args]
    else:
        # Builders write an entrypoint of one empty string to reset the base image's.
        entrypoint = () if image.entrypoint == ("",) else image.entrypoint
        args = [*entrypoint, *(config.args or image.cmd)]
    if not args:
        raise InvalidArgument(
            "config.command: no command specified, neither in the request nor in the image; "
            "give a command, or an image with an entrypoint"
        )
    if not args[0]:
        raise bad_value("config.command", args, "a list that starts with the path of a program")
    for argument in args:
        check_text("config.command", argument)
    return args


def sandbox_arguments(image: ImageDefaults) -> list[str]:
    """The arguments of the sandbox's own process, which only the image can say."""
    args = [*image.entrypoint, *image.cmd]
    if not args:
        raise InvalidArgument(
            "sandbox_image: the image has neither entrypoint nor command; it cannot hold a pod"
        )
    return args


def environment(
    base: Sequence[str], config: criv1.ContainerConfig, image: ImageDefaults, hostname: str
) -> list[str]:
    """The environment: `base`, TERM for a terminal, HOSTNAME, the image's variables, then the request's.

    A later value replaces an earlier one in its place; an image's entry without `=` removes the variable.
    """
    terminal = [TERM] if config.tty else []
    return merge_environment(
        [*base, *terminal, f"HOSTNAME={hostname}"], [*image.env, *_requested(config.envs)]
    )


def merge_environment(base: Iterable[str], overrides: Iterable[str]) -> list[str]:
    """`base` with `overrides` applied: replaced in place, appended, or removed when there is no `=`."""
    merged = {entry.partition("=")[0]: entry for entry in base}
    for entry in overrides:
        name, equals, _ = entry.partition("=")
        if equals:
            merged[name] = entry
        else:
            merged.pop(name, None)
    return list(merged.values())


def working_directory(config: criv1.ContainerConfig, image: ImageDefaults, base: str) -> str:
    """The directory to start in: the request's, else the image's, else `base`. Raises for a relative one."""
    chosen = config.working_dir or image.working_dir or base
    if not chosen.startswith("/"):
        field = "config.working_dir" if config.working_dir else "working directory of the image"
        raise bad_value(field, chosen, "an absolute path")
    check_text("config.working_dir", chosen)
    return chosen


def _requested(variables: Iterable[criv1.KeyValue]) -> Iterable[str]:
    for variable in variables:
        if not variable.key or "=" in variable.key:
            raise bad_value("config.envs.key", variable.key, "a name without '='")
        check_text("config.envs.key", variable.key)
        value = _text(variable.value)
        if "\0" in value:
            # The value stays out of the message: it may be a secret.
            raise InvalidArgument(f"config.envs: the value of {variable.key} must be without NUL characters")
        yield f"{variable.key}={value}"


def _text(value: bytes) -> str:
    """`value` as text, each byte that is not UTF-8 as U+FFFD.

    The spec is JSON and cannot hold other bytes. Refusing would keep pods from starting that import a whole
    Secret with one binary entry, which they mostly do not read from the environment.
    """
    try:
        return value.decode()
    except UnicodeDecodeError:
        return _ESCAPED_BYTES.sub("\ufffd", value.decode(errors="surrogateescape"))
