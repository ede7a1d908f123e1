"""Signals by the names that images, requests and people use."""

from __future__ import annotations

import signal

from api.wire import criv1
from cri.errors import InvalidArgument
from cri.oci.refusals import bad_value

DEFAULT_STOP_SIGNAL = "SIGTERM"


def stop_signal(requested: criv1.Signal.ValueType, image: str) -> str:
    """Which signal stops the container: the request's, else the image's STOPSIGNAL, else SIGTERM.

    Raises InvalidArgument for a number that CRI gives no name.
    """
    if requested not in criv1.Signal.values():
        raise bad_value("config.stop_signal", requested, "one of CRI's signals")
    if requested != criv1.RUNTIME_DEFAULT:
        return _linux_name(criv1.Signal.Name(requested))
    return image or DEFAULT_STOP_SIGNAL


def cri_signal(name: str) -> criv1.Signal.ValueType:
    """The CRI constant for a signal's name, RUNTIME_DEFAULT for one that CRI has no constant for."""
    number = signal_number(name)
    if number < signal.SIGRTMIN or number in (signal.SIGRTMIN, signal.SIGRTMAX):
        full = signal.Signals(number).name
    elif number <= signal.SIGRTMIN + 15:  # CRI counts the lower half from SIGRTMIN, the upper from SIGRTMAX
        full = f"SIGRTMINPLUS{number - signal.SIGRTMIN}"
    else:
        full = f"SIGRTMAXMINUS{signal.SIGRTMAX - number}"
    return (
        criv1.Signal.Value(full) if full in criv1.Signal.DESCRIPTOR.values_by_name else criv1.RUNTIME_DEFAULT
    )


def signal_number(name: str) -> int:
    """The Linux number of "SIGTERM", "TERM", "SIGRTMIN+3" or "15". Raises InvalidArgument for anything else."""
    text = name.strip().upper() or DEFAULT_STOP_SIGNAL
    if text.isascii() and text.isdigit():
        number = int(text)
        if 0 < number < signal.NSIG:
            return number
    full = text if text.startswith("SIG") else f"SIG{text}"
    base, sign, offset = _split_realtime(full)
    try:
        number = signal.Signals[base].value
    except KeyError:
        raise InvalidArgument(f"stop signal {name!r} is not a Linux signal") from None
    number += sign * offset
    if signal.SIGRTMIN <= number <= signal.SIGRTMAX or not offset:
        return number
    raise InvalidArgument(f"stop signal {name!r} is outside SIGRTMIN..SIGRTMAX")


def _split_realtime(name: str) -> tuple[str, int, int]:
    for mark, sign in (("+", 1), ("-", -1)):
        base, found, offset = name.partition(mark)
        if found and offset.isdigit() and base in ("SIGRTMIN", "SIGRTMAX"):
            return base, sign, int(offset)
    return name, 1, 0


def _linux_name(cri_name: str) -> str:
    """CRI's names differ from Linux' for real-time signals only: SIGRTMINPLUS3 for SIGRTMIN+3."""
    return cri_name.replace("PLUS", "+").replace("MINUS", "-")
