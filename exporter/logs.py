"""Logs: logfmt or JSON, one line an event, and never what came with an exception.

An exception's message can hold what the service or a user sent, so a line names the exception's
type and where it was raised, and no more.
"""

import logging
import sys
import traceback
from typing import Final, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

LogFormat = Literal["logfmt", "json"]
LEVELS: Final = ("debug", "info", "warn", "error")

_QUIET: Final = {
    # Their lines hold URLs, headers and messages of exceptions.
    "urllib3": logging.CRITICAL,
    "requests": logging.CRITICAL,
    "sseclient": logging.CRITICAL,
    "asyncio": logging.ERROR,
    # Says that it starts and stops, as we do.
    "uvicorn": logging.WARNING,
}


def configure(level: str, log_format: LogFormat, stream: TextIO = sys.stderr) -> None:
    """Send every log line of the process to `stream`, in one format.

    `level` is one of `LEVELS`.
    """
    renderer: Processor = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.processors.LogfmtRenderer(
            key_order=["ts", "level", "msg"], drop_missing=True, sort_keys=False
        )
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
            structlog.stdlib.add_log_level,
            structlog.stdlib.ExtraAdder(),
            _name_exception,
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.EventRenamer("msg"),
            _one_line,
            renderer,
        ],
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel({"warn": "WARNING"}.get(level, level.upper()))
    for name, quiet in _QUIET.items():
        logging.getLogger(name).setLevel(quiet)
    logging.captureWarnings(capture=True)
    # A thread that dies of a fault of ours says so in the same format.
    sys.excepthook = _log_exception


def _log_exception(kind: type[BaseException], error: BaseException, trace: object) -> None:
    del trace
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger("exporter").critical("unexpected end", exc_info=error)


def _name_exception(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    del logger, name
    info = event.pop("exc_info", None)
    record = event.get("_record")
    if isinstance(record, logging.LogRecord):
        info = info or record.exc_info
        record.exc_info = None
        record.exc_text = None
        record.stack_info = None
    event.pop("stack_info", None)
    if isinstance(info, tuple):
        info = info[1]
    if isinstance(info, BaseException):
        event["error"] = type(info).__name__
        frames = traceback.extract_tb(info.__traceback__)
        if frames:
            event["raised_at"] = f"{frames[-1].filename}:{frames[-1].lineno}"
    return event


def _one_line(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    """Keep a value that came from outside from starting a line of its own."""
    del logger, name
    for key, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            event[key] = "".join(c if c.isprintable() else " " for c in value)
    return event
