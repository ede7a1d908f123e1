"""AppArmor: which profile a container gets, and the text of the default one.

Loading a profile into the kernel and listing the loaded ones is the caller's job.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from api.wire import criv1
from cri.oci import security_profile
from cri.oci.refusals import bad_value
from cri.oci.security_profile import ProfileKind, ProfileRequest

if TYPE_CHECKING:
    from collections.abc import Collection

    from cri.oci.host import HostFacts
    from cri.oci.settings import OciSettings

#: containerd's name for it, so that either server can run the other's containers.
DEFAULT_PROFILE = "cri-containerd.apparmor.d"

_FIELD = "config.linux.security_context.apparmor"

SecurityContext = criv1.LinuxContainerSecurityContext | criv1.LinuxSandboxSecurityContext


def requested(context: SecurityContext) -> ProfileRequest | None:
    """The profile that the request names, None when it says nothing."""
    if context.HasField("apparmor"):
        return security_profile.from_message(_FIELD, context.apparmor)
    if isinstance(context, criv1.LinuxContainerSecurityContext) and context.apparmor_profile:
        return security_profile.from_text(f"{_FIELD}_profile", context.apparmor_profile)
    return None


def needs_default_profile(
    context: criv1.LinuxContainerSecurityContext, host: HostFacts, settings: OciSettings
) -> bool:
    """Whether `DEFAULT_PROFILE` must be loaded before this container starts."""
    request = requested(context) or security_profile.RUNTIME_DEFAULT
    wanted = request.kind is ProfileKind.RUNTIME_DEFAULT and not context.privileged
    return wanted and _enabled(host, settings)


def sandbox_needs_default_profile(
    context: criv1.LinuxSandboxSecurityContext, host: HostFacts, settings: OciSettings
) -> bool:
    """As `needs_default_profile` for the sandbox's own process."""
    request = requested(context)
    wanted = request is not None and request.kind is ProfileKind.RUNTIME_DEFAULT and not context.privileged
    return wanted and _enabled(host, settings)


def container_profile(
    context: criv1.LinuxContainerSecurityContext,
    host: HostFacts,
    settings: OciSettings,
    loaded: Collection[str],
) -> str | None:
    """`process.apparmorProfile`, None to set none. Nothing said means the default, where AppArmor is there.

    Raises InvalidArgument when a profile is asked for that is not `loaded`, or AppArmor is not there.
    """
    request = requested(context)
    if request is None and _enabled(host, settings):
        request = security_profile.RUNTIME_DEFAULT
    return _profile(request, context, host, settings, loaded)


def sandbox_profile(
    context: criv1.LinuxSandboxSecurityContext,
    host: HostFacts,
    settings: OciSettings,
    loaded: Collection[str],
) -> str | None:
    """As `container_profile` for the sandbox's own process, for which nothing said means none."""
    return _profile(requested(context), context, host, settings, loaded)


def _enabled(host: HostFacts, settings: OciSettings) -> bool:
    return host.apparmor and not settings.disable_apparmor


def _profile(
    request: ProfileRequest | None,
    context: SecurityContext,
    host: HostFacts,
    settings: OciSettings,
    loaded: Collection[str],
) -> str | None:
    if not _enabled(host, settings):
        if request is not None and request.kind is not ProfileKind.UNCONFINED:
            why = "disabled by disable_apparmor" if host.apparmor else "not supported by this machine"
            raise bad_value(_FIELD, request.name or request.kind.value, f"Unconfined: AppArmor is {why}")
        return None
    if request is None or request.kind is ProfileKind.UNCONFINED:
        return None
    if request.kind is ProfileKind.RUNTIME_DEFAULT:
        return None if context.privileged else DEFAULT_PROFILE
    if request.name not in loaded:
        raise bad_value(
            f"{_FIELD}.localhost_ref",
            request.name,
            "a loaded profile (see apparmor_parser --replace)",
        )
    return request.name


def default_profile_text(name: str, daemon_profile: str = "unconfined") -> str:
    """The default profile in apparmor.d(5) syntax; `daemon_profile` is the profile of containerd itself.

    It leaves files, network and capabilities to the other means, keeps containers from mounting and from the
    kernel's settings in /proc and /sys, and lets signals and traces pass only inside of the profile, or from
    the runtime.
    """
    return _DEFAULT_PROFILE.format(name=name, daemon=daemon_profile)


_DEFAULT_PROFILE = """\
#include <tunables/global>

profile {name} flags=(attach_disconnected,mediate_deleted) {{
  #include <abstractions/base>

  network,
  capability,
  file,
  umount,

  # Signals come from the runtime, whatever profile that runs under, and from the same container.
  signal (receive) peer=unconfined,
  signal (receive) peer={daemon},
  signal (receive) peer={{runc,crun}},
  signal (send,receive) peer={name},

  ptrace (trace,read,tracedby,readby) peer={name},

  deny mount,

  # Kernel settings: only those of shared memory, which every IPC namespace has for itself.
  deny /proc/sys/{{[^k]*,k[^e]*}}/** w,
  deny /proc/sys/kernel/{{[^s]*,s[^h]*,sh[^m]*}}{{,/**}} w,

  # The rest of /proc that is no process.
  deny /proc/* w,
  deny /proc/{{acpi,asound,bus,driver,fs,irq,scsi,tty}}/** w,
  deny /proc/{{kcore,kmem,mem,sysrq-trigger}} rwkl,

  # Of /sys, cgroups alone may be written.
  deny /sys/{{[^f]*,f[^s]*}}/** wkl,
  deny /sys/fs/{{[^c]*,c[^g]*,cg[^r]*}}/** wkl,
  deny /sys/{{firmware,kernel/security,devices/virtual/powercap}}/** rwkl,
}}
"""
