"""A reload, and the watch over files, never wait for a pipe or a device."""

import os
import time
from pathlib import Path

import pytest

from exporter.app.app import App
from exporter.app.reloading import Reloadable, Reloading
from exporter.config import load
from exporter.signals import ReloadSignal

A = "a1b2c3d4-e5f6-7890-abcd-ef1234567890"


def _text(files: str) -> str:
    return (
        "accounts: [{name: a, token: cfc_a, base_url: 'http://127.0.0.1:1', "
        f"workflow_files: [{files}]}}]\n"
    )


@pytest.mark.timeout(30)
def test_a_pipe_in_a_new_pattern_does_not_hang_a_reload(tmp_path: Path) -> None:
    (tmp_path / "one.yml").write_text(f"- {A}\n")
    os.mkfifo(tmp_path / "pipe.yml")
    path = tmp_path / "config.yml"
    path.write_text(_text("one.yml"))
    app = App(load(path, {}))
    app.start()
    try:
        reloading = Reloading(
            app, Reloadable(lambda: load(path, {}), str(path)), None, ReloadSignal()
        )
        path.write_text(_text("'*[en].yml', pipe.yml"))
        began = time.monotonic()
        assert reloading.reload() == ()
        path.unlink()
        os.mkfifo(path)
        assert "is a named pipe" in reloading.reload()[1]
        assert time.monotonic() - began < 10
        reading = app.read().accounts["a"].files
        assert reading is not None
        assert (reading.ok, len(reading.faulty)) == (1, 1)
        page = app.page.render("").body.decode()
        assert 'comfycontrol_exporter_workflow_files{account="a",state="faulty"} 1.0' in page
        assert 'comfycontrol_exporter_workflow_files{account="a",state="ok"} 1.0' in page
    finally:
        app.stop()
