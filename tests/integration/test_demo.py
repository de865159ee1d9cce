"""`demo` in a terminal: its picture stays whole, whatever is logged meanwhile."""

import logging
import os
import pty
import re
import threading

import pytest

from exporter import logs
from exporter.commands.demo import show_live
from exporter.commands.terminal import page
from exporter.interfaces.views import Overview

SHOWN = Overview(1000.0, "1.2.3", "abc", 0.0, (), ())
HEAD = b"ComfyControl exporter"


def test_log_lines_stand_above_the_picture_and_it_is_drawn_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    leader, follower = pty.openpty()
    heard: list[bytes] = []
    ended = threading.Event()
    with os.fdopen(follower, "w", encoding="utf-8") as terminal:
        monkeypatch.setattr("sys.stderr", terminal)
        logs.configure("info", "logfmt", terminal)
        try:
            shows = threading.Thread(target=show_live, args=(lambda: page(SHOWN), terminal, ended))
            shows.start()
            while b"".join(heard).count(HEAD) < 2:
                heard.append(os.read(leader, 4096))
            logging.getLogger("exporter").info("a line\x1b[2J of the log")
            ended.set()
            shows.join(5)
            logging.getLogger("exporter").info("after it")
            logging.getLogger().handlers[0].flush()
            while b"after it" not in heard[-1]:
                heard.append(os.read(leader, 4096))
        finally:
            logging.getLogger().handlers.clear()
    os.close(leader)
    said = b"".join(heard)
    picture = said[: said.rindex(b"\x1b[?25h")]
    # The line is whole; what comes next is the picture, and not the wiping of another one's lines.
    assert re.search(rb"msg=\"a line[^\n]*of the log\"\r\n(\x1b\[1m)?" + HEAD, picture)
    assert b"\x1b[2J" not in said
