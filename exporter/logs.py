"""Logs: logfmt or JSON, one line per event, and never the text of an exception.

An exception's message can contain what the service or a user sent, so a line has only the
exception's type and where it was raised.
"""

import contextlib
import logging
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Final, Literal, TextIO

from exporter.log_lines import LineWriter, Repeats
from exporter.spared_imports import without

# If these are installed, it loads them for colours on a terminal, which takes 5 MiB.
with without("rich", "greenlet"):
    import structlog
    from structlog.typing import EventDict, Processor, WrappedLogger

FLUSH_SECONDS: Final = 0.25
"""Seconds that the end of the process waits for a slow reader of the log."""

_ASYNCIO_SAYS: Final = re.compile(r"[\w .]*")

LogFormat = Literal["logfmt", "json"]
LEVELS: Final = ("debug", "info", "warn", "error")

_QUIET: Final = {
    # Their lines contain URLs, headers and messages of exceptions.
    "urllib3": logging.CRITICAL,
    "requests": logging.CRITICAL,
    "sseclient": logging.CRITICAL,
    "asyncio": logging.ERROR,
    # It logs its start and stop, which we log too.
    "uvicorn": logging.WARNING,
}


def configure(level: str, log_format: LogFormat, stream: TextIO = sys.stderr) -> None:
    """Write all log lines of the process to `stream`, in one format.

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
            _cut_asyncio,
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.EventRenamer("msg"),
            _one_line,
            renderer,
        ],
    )
    handler = _Handler(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel({"warn": "WARNING"}.get(level, level.upper()))
    for name, quiet in _QUIET.items():
        logging.getLogger(name).setLevel(quiet)
    logging.captureWarnings(capture=True)
    # Python would write tracebacks with the messages of exceptions.
    sys.excepthook = _log_exception
    threading.excepthook = _log_thread
    sys.unraisablehook = _log_unraisable


@contextlib.contextmanager
def shown_by(show: Callable[[str], object]) -> Iterator[None]:
    """Within this context, call `show` with each log line (without newline) instead of writing it.

    For a live display in the same terminal, which other output would break.
    """
    with contextlib.ExitStack() as stack:
        for handler in logging.getLogger().handlers:
            if isinstance(handler, _Handler):
                stack.enter_context(handler.shown_by(show))
        yield


class _Handler(logging.StreamHandler[TextIO]):
    """Writes lines without blocking; repeated lines are only counted."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._repeats = Repeats()
        self._lines = LineWriter(stream, self._lost)
        self._show: Callable[[str], object] | None = None

    @contextlib.contextmanager
    def shown_by(self, show: Callable[[str], object]) -> Iterator[None]:
        """In this context, call `show` with each line (without newline) instead of writing it."""
        self.flush()
        self._show = show
        try:
            yield
        finally:
            self._show = None

    def _write(self, line: str) -> None:
        show = self._show
        if show is None:
            self._lines.write(line + self.terminator)
        else:
            show(line)

    @property
    def suppressed(self) -> int:
        """How many lines were not written."""
        return self._repeats.suppressed + self._lines.lost

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line, unless it repeats others."""
        try:
            if self._repeats.take(record, time.monotonic()):
                self._write(self.format(record))
        except Exception:  # noqa: BLE001 - an error in logging must not stop the program
            self.handleError(record)

    def log_repeated(self, *, everything: bool) -> None:
        """Log how often lines were repeated whose minute is over; or of all lines."""
        with self.lock or contextlib.nullcontext():
            for record in self._repeats.due(time.monotonic(), everything=everything):
                self._write(self.format(record))
            self._lines.drain()

    def _lost(self, lines: int) -> str:
        record = logging.makeLogRecord(
            {
                "name": __name__,
                "levelno": logging.WARNING,
                "levelname": "WARNING",
                "msg": "log lines could not be written",
                "lines": lines,
            }
        )
        return self.format(record) + self.terminator

    def flush(self) -> None:
        """Write waiting lines, if that takes only a moment."""
        self._lines.drain(FLUSH_SECONDS)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the base class's name
        """Write which log call failed, if anything can be written at all."""
        if isinstance(sys.exc_info()[1], OSError):
            return
        with contextlib.suppress(OSError, ValueError):
            self._lines.write(f"a log line is lost: {record.filename}:{record.lineno}\n")


def suppressed() -> int:
    """How many lines were not written: repeated ones, and those for which there was no room."""
    return sum(h.suppressed for h in logging.getLogger().handlers if isinstance(h, _Handler))


def log_suppressed(*, everything: bool = False) -> None:
    """Log how often lines were repeated, once a minute; call it each second.

    With `everything`, log it now, because the process ends.
    """
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _Handler):
            handler.log_repeated(everything=everything)


def _log_exception(kind: type[BaseException], error: BaseException, trace: object) -> None:
    del trace
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger("exporter").critical("unexpected end", exc_info=error)


def _log_thread(failed: threading.ExceptHookArgs) -> None:
    """Log that a thread ended because of a bug."""
    if failed.exc_type is SystemExit or failed.exc_value is None:
        return
    name = None if failed.thread is None else failed.thread.name
    logging.getLogger("exporter").critical(
        "unexpected end of a thread", exc_info=failed.exc_value, extra={"name_of_thread": name}
    )


def _log_unraisable(failed: "sys.UnraisableHookArgs") -> None:
    """Log an exception that cannot be caught, such as one in a destructor."""
    # Neither the object nor Python's text about it, because both show values.
    extra = {} if failed.exc_value else {"error": failed.exc_type.__name__}
    logging.getLogger("exporter").error(
        "unraisable exception", exc_info=failed.exc_value, extra=extra
    )


def _cut_asyncio(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    """Shorten asyncio's text to what happened.

    The rest shows arguments of callbacks, tasks and exceptions.
    """
    del logger, name
    record = event.get("_record")
    if isinstance(record, logging.LogRecord) and record.name == "asyncio":
        happened = _ASYNCIO_SAYS.match(str(event["event"]))
        event["event"] = f"asyncio: {happened[0].strip() if happened else ''}"
    return event


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
    """Prevent a value from outside from starting a new line."""
    del logger, name
    for key, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            event[key] = "".join(c if c.isprintable() else " " for c in value)
    return event
