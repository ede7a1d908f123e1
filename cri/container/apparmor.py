"""AppArmor profiles in the kernel: which are loaded, and the default one loaded when it is first needed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from cri.errors import FailedPrecondition
from cri.linux.process import execute
from cri.oci.apparmor import DEFAULT_PROFILE, default_profile_text

if TYPE_CHECKING:
    from cri.oci.host import HostFacts

log = structlog.get_logger(__name__)

LOADED = Path("/sys/kernel/security/apparmor/profiles")
PARSER = ("apparmor_parser", "--replace", "--skip-cache")
PARSER_SECONDS = 30.0


async def loaded_profiles(host: HostFacts, *, with_default: bool) -> frozenset[str]:
    """Names of the profiles that the kernel has; none without AppArmor. `with_default` loads the default one first.

    Raises FailedPrecondition when that cannot be loaded.
    """
    if not host.apparmor:
        return frozenset()
    loaded = await asyncio.to_thread(_loaded)
    if with_default and DEFAULT_PROFILE not in loaded:
        await _load_default()
        loaded |= {DEFAULT_PROFILE}
    return loaded


async def _load_default() -> None:
    text = default_profile_text(DEFAULT_PROFILE)
    try:
        finished = await execute(PARSER, stdin=text.encode(), timeout_seconds=PARSER_SECONDS)
    except (OSError, TimeoutError) as error:
        raise _unloadable(str(error)) from error
    if finished.status != 0:
        raise _unloadable(finished.stderr.decode(errors="replace").strip())
    log.info("default AppArmor profile loaded", profile=DEFAULT_PROFILE)


def _unloadable(why: str) -> FailedPrecondition:
    return FailedPrecondition(
        f"AppArmor profile {DEFAULT_PROFILE} cannot be loaded: {why}; repair apparmor_parser, "
        "or set disable_apparmor = true"
    )


def _loaded() -> frozenset[str]:
    lines = LOADED.read_text().splitlines()
    return frozenset(line.rpartition(" (")[0] for line in lines)
