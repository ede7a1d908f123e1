"""structlog set up once for the process: one line an event, to stderr, as text or JSON, level changeable.

Text is for people and journald: `TIME LEVEL event in words key=value ...`. A traceback is a value like any
other (with its newlines escaped) so that a line stays an event; only on a terminal is it printed as such.
What libraries say through the standard library's `logging` comes out in the same shape.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import sys
from typing import TYPE_CHECKING, Literal, TextIO, get_args

import structlog

from cri.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    from structlog.typing import EventDict, Processor, WrappedLogger

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["text", "json"]

_SEVERITY: dict[str, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "exception": logging.ERROR,
    "critical": logging.CRITICAL,
    "fatal": logging.CRITICAL,
}
_PLAIN = re.compile(r"[^\s\"=\\]+")
_EVERYTHING = structlog.make_filtering_bound_logger(logging.NOTSET)


class _Threshold:
    severity = logging.INFO


class LevelledLogger(_EVERYTHING):  # type: ignore[misc, valid-type] # a class made at run time
    """A bound logger that asks for the level at each call, so that cached loggers follow a change."""

    def _proxy_to_logger(
        self, method_name: str, event: str | None = None, *args: object, **fields: object
    ) -> object:
        if _SEVERITY.get(method_name, logging.ERROR) < _Threshold.severity:
            return None
        return super()._proxy_to_logger(method_name, event, *args, **fields)


def set_up_logging(level: str, log_format: str, stream: TextIO | None = None) -> None:
    """Send every event at or above `level` to `stream` (stderr). May be called again, e.g. by tests.

    Raises InvalidArgument for a level or format that does not exist.
    """
    if log_format not in get_args(Format):
        raise InvalidArgument(f'log format "{log_format}" is not one of {", ".join(get_args(Format))}')
    set_level(level)
    target = sys.stderr if stream is None else stream
    render = _render_json if log_format == "json" else _text_renderer(multi_line=target.isatty())
    # In place: loggers that are cached already hold this very list.
    processors: list[Processor] = structlog.get_config()["processors"]
    processors[:] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        _add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        structlog.processors.UnicodeDecoder(),
        render,
    ]
    structlog.configure(
        processors=processors,
        wrapper_class=LevelledLogger,
        logger_factory=_NamedWriterFactory(target),
        cache_logger_on_first_use=True,
    )
    # Libraries talk of their own doings below WARNING, some of them at DEBUG whatever the root says.
    logging.basicConfig(handlers=[_ForwardingHandler(logging.WARNING)], level=logging.WARNING, force=True)


def set_level(level: str) -> None:
    """Change the level from now on. Raises InvalidArgument naming the levels there are."""
    if level not in get_args(Level):
        raise InvalidArgument(f'log level "{level}" is not one of {", ".join(get_args(Level))}')
    _Threshold.severity = _SEVERITY[level]


class _NamedWriter(structlog.WriteLogger):
    """Writes lines to a stream and remembers which module asked for the logger."""

    def __init__(self, stream: TextIO, name: str) -> None:
        super().__init__(stream)
        self.name = name

    def msg(self, message: str) -> None:
        """Write a line, or drop it: stderr may be a file on a full disk, and no call fails for what is said of it."""
        with contextlib.suppress(OSError):
            super().msg(message)

    log = debug = info = warn = warning = fatal = failure = err = error = critical = exception = msg


class _NamedWriterFactory:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, *names: object) -> _NamedWriter:
        return _NamedWriter(self._stream, str(names[0]) if names else "")


class _ForwardingHandler(logging.Handler):
    """Hands the standard library's records to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        severity = record.levelname.lower()
        write: Callable[..., object] = getattr(structlog.get_logger(record.name), severity, None) or (
            structlog.get_logger(record.name).error
        )
        write(record.getMessage(), exc_info=record.exc_info or None)


def _add_logger_name(logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    name = getattr(logger, "name", "")
    if name:
        event["logger"] = name
    return event


def _render_json(_logger: WrappedLogger, _method: str, event: MutableMapping[str, object]) -> str:
    return json.dumps(event, default=str, ensure_ascii=False)


def _text_renderer(*, multi_line: bool) -> Processor:
    def render(_logger: WrappedLogger, _method: str, event: MutableMapping[str, object]) -> str:
        when, level, what = event.pop("timestamp", ""), event.pop("level", ""), event.pop("event", "")
        trace = str(event.pop("exception", ""))
        fields = [f"{key}={_text_value(value)}" for key, value in event.items()]
        line = " ".join([f"{when} {level:<7} {_one_line(what)}", *fields])
        if not trace:
            return line
        return f"{line}\n{trace}" if multi_line else f"{line} exception={_text_value(trace)}"

    return render


def _one_line(value: object) -> str:
    return str(value).replace("\n", "\\n").replace("\r", "\\r")


def _text_value(value: object) -> str:
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)
