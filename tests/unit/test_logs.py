"""What a log line holds, and what it never does."""

import asyncio
import gc
import io
import json
import logging
import threading
import warnings
from collections.abc import Callable, Coroutine, Iterator

import pytest

from exporter import logs

SECRET = "a-prompt-of-the-user"


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    yield
    root.handlers[:], level = before
    root.setLevel(level)
    logging.captureWarnings(capture=False)


def lines(log_format: logs.LogFormat, level: str = "info") -> tuple[logging.Logger, io.StringIO]:
    out = io.StringIO()
    logs.configure(level, log_format, out)
    return logging.getLogger("exporter.test"), out


def test_logfmt_has_time_level_message_and_marks() -> None:
    log, out = lines("logfmt")
    log.warning("stream ended", extra={"workflow_id": "w1", "reason": "dropped"})
    time, rest = out.getvalue().split(" ", 1)
    assert time.startswith("ts=20")
    assert time.endswith("Z")
    assert rest == 'level=warning msg="stream ended" workflow_id=w1 reason=dropped\n'


def test_json_is_one_object_a_line() -> None:
    log, out = lines("json")
    log.info("started", extra={"accounts": "studio"})
    shown = json.loads(out.getvalue())
    assert shown["msg"] == "started"
    assert shown["level"] == "info"
    assert shown["accounts"] == "studio"


@pytest.mark.parametrize("log_format", ["logfmt", "json"])
def test_an_exception_is_named_and_its_message_never_shown(log_format: logs.LogFormat) -> None:
    log, out = lines(log_format)
    try:
        int("a prompt of the user")
    except ValueError:
        log.exception("failed")
    assert "ValueError" in out.getvalue()
    assert "test_logs.py:" in out.getvalue()
    assert "prompt" not in out.getvalue()
    assert out.getvalue().count("\n") == 1


@pytest.mark.parametrize("log_format", ["logfmt", "json"])
def test_a_value_cannot_start_a_line_of_its_own(log_format: logs.LogFormat) -> None:
    log, out = lines(log_format)
    log.warning("unknown status", extra={"status": 'x\nlevel=error msg="all is lost"\r\x1b[2J'})
    assert out.getvalue().count("\n") == 1
    assert "\x1b" not in out.getvalue()
    assert "\r" not in out.getvalue()


def test_levels() -> None:
    log, out = lines("logfmt", "warn")
    log.info("quiet")
    log.warning("loud")
    assert "quiet" not in out.getvalue()
    assert "loud" in out.getvalue()


def test_libraries_that_show_urls_and_messages_are_silent_even_at_debug() -> None:
    _, out = lines("logfmt", "debug")
    logging.getLogger("urllib3.connectionpool").error("Failed to parse headers (url=secret)")
    logging.getLogger("sseclient").warning("Dispatching secret")
    assert out.getvalue() == ""


def test_warnings_go_to_the_log() -> None:
    _, out = lines("logfmt")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    assert "level=warning" in out.getvalue()


def raising(_: object = None) -> None:
    raise ValueError(SECRET)


@pytest.mark.parametrize("log_format", ["logfmt", "json"])
def test_a_thread_that_dies_is_named_without_its_message(
    log_format: logs.LogFormat, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out = lines(log_format)
    thread = threading.Thread(target=raising, name="lister")
    thread.start()
    thread.join()
    said = out.getvalue() + "".join(capsys.readouterr())
    assert "ValueError" in said
    assert "test_logs.py:" in said
    assert "lister" in said
    assert SECRET not in said
    assert said.count("\n") == 1


class Undying:
    def __repr__(self) -> str:
        return SECRET

    def __del__(self) -> None:
        raising()


def test_a_destructor_that_fails_is_named_without_its_message(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, out = lines("logfmt")
    Undying()
    gc.collect()
    said = out.getvalue() + "".join(capsys.readouterr())
    assert "error=ValueError" in said
    assert SECRET not in said
    assert said.count("\n") == 1


async def forget_a_task() -> None:
    async def failing() -> None:
        raising()

    task = asyncio.create_task(failing())
    await asyncio.wait({task})
    del task
    gc.collect()


async def fail_in_a_callback() -> None:
    asyncio.get_running_loop().call_soon(raising, SECRET)
    await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (forget_a_task, "Task exception was never retrieved"),
        (fail_in_a_callback, "Exception in callback raising"),
    ],
)
def test_of_what_asyncio_says_nothing_stays_but_what_happened(
    fault: Callable[[], Coroutine[None, None, None]], says: str
) -> None:
    _, out = lines("logfmt", "debug")
    asyncio.run(fault())
    assert f'msg="asyncio: {says}" error=ValueError' in out.getvalue()
    assert SECRET not in out.getvalue()
    assert out.getvalue().count("\n") == 1


def test_a_line_that_cannot_be_formatted_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    log, out = lines("logfmt")
    log.warning("two %s %s", SECRET)  # noqa: PLE1206 - that is the fault
    said = out.getvalue() + "".join(capsys.readouterr())
    assert said.startswith("a log line is lost: test_logs.py:")
    assert SECRET not in said
