"""Signals by all the names that people use."""

from __future__ import annotations

import signal

import pytest

from api.wire import criv1
from cri.container.signals import cri_signal, signal_number, stop_signal
from cri.errors import InvalidArgument


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("SIGTERM", 15),
        ("term", 15),
        ("15", 15),
        ("", 15),
        (" SIGKILL ", 9),
        ("SIGRTMIN", signal.SIGRTMIN),
        ("SIGRTMIN+3", signal.SIGRTMIN + 3),
        ("RTMAX-2", signal.SIGRTMAX - 2),
        ("SIGCLD", signal.SIGCHLD),
    ],
)
def test_names(name, number):
    assert signal_number(name) == number


@pytest.mark.parametrize("name", ["SIGNOPE", "0", "-9", "65", "SIGRTMIN+99", "SIGTERM+1", "ÄÖ", "1.5"])
def test_what_is_no_signal_is_refused(name):
    with pytest.raises(InvalidArgument, match="stop signal"):
        signal_number(name)


def test_the_request_goes_before_the_image_and_the_image_before_the_default():
    assert stop_signal(criv1.SIGUSR1, "SIGQUIT") == "SIGUSR1"
    assert stop_signal(criv1.RUNTIME_DEFAULT, "SIGQUIT") == "SIGQUIT"
    assert stop_signal(criv1.RUNTIME_DEFAULT, "") == "SIGTERM"


@pytest.mark.parametrize(
    "value", [value for value in criv1.Signal.values() if value != criv1.RUNTIME_DEFAULT]
)
def test_every_signal_of_cri_is_a_linux_signal(value):
    number = signal_number(stop_signal(value, ""))
    assert signal_number(stop_signal(cri_signal(stop_signal(value, "")), "")) == number
