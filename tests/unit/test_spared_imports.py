"""What the exporter does not load, and how that is kept from its libraries."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.spared_imports import standing_in, without
from tests.ports import free_port

SPARED = {
    "a terminal": ("rich", "greenlet"),
    "a guess of encodings": ("chardet", "charset_normalizer"),
    "slices": ("re2",),
    "PostgreSQL": ("psycopg", "exporter.ledger.postgres"),
    "the demo": ("exporter.simulator",),
    "commands": ("exporter.commands.online", "exporter.commands.status", "exporter.commands.demo"),
    "several processes": ("click", "multiprocessing", "uvicorn.supervisors"),
    "pages": ("jinja2", "exporter.web.html"),
    "the JSON interface": ("exporter.web.api", "exporter.web.push", "exporter.web.reading"),
    "a file for the web side": ("exporter.web.security.loading", "exporter.web.security.models"),
    "passwords": ("bcrypt",),
}
"""What an exporter that is only scraped can do without, by what it is for."""

LIBRARIES = {
    "annotated_types",
    "anyio",
    "certifi",
    "h11",
    "idna",
    "orjson",
    "prometheus_client",
    "pydantic",
    "pydantic_core",
    "python_multipart",
    "requests",
    "sseclient",
    "starlette",
    "structlog",
    "typing_extensions",
    "typing_inspection",
    "urllib3",
    "uvicorn",
    "yaml",
}
"""All that it needs besides Python. A library more takes memory in every process: import it where
it is used, or add it here."""

RUN = """
import http.client, json, os, signal, sys, threading, time

def scrape():
    while True:
        try:
            asked = http.client.HTTPConnection(sys.argv[1].rpartition("=")[2], timeout=10)
            asked.request("GET", "/metrics")
            assert asked.getresponse().status == 200
            break
        except ConnectionError:
            time.sleep(0.02)
    loaded = {
        name: getattr(module, "__file__", None) or "" for name, module in [*sys.modules.items()]
    }
    print(json.dumps(loaded), flush=True)
    os.kill(os.getpid(), signal.SIGTERM)

threading.Thread(target=scrape, daemon=True).start()
from exporter.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The modules of an exporter that was scraped once, each with its file."""
    folder = tmp_path_factory.mktemp("idle")
    config = folder / "exporter.yml"
    account = {"name": "studio", "base_url": "http://127.0.0.1:1", "token": "t", "listing": {}}
    config.write_text(json.dumps({"accounts": [account]}))
    port = free_port()
    flags = (f"--web.listen-address=127.0.0.1:{port}", f"--config.file={config}")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", RUN, *flags],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
        timeout=60,
    )
    modules: dict[str, str] = json.loads(done.stdout)
    return modules


@pytest.mark.parametrize("use", SPARED)
def test_an_exporter_that_is_only_scraped_has_not_loaded_what_is_for_something_else(
    loaded: dict[str, str], use: str
) -> None:
    assert [name for name in SPARED[use] if name in loaded] == []


def test_it_has_loaded_no_other_library(loaded: dict[str, str]) -> None:
    found = {
        name.partition(".")[0]
        for name, file in loaded.items()
        if "site-packages" in Path(file).parts
    }
    # The second puts packages that are being worked on into the path, and is not in an image.
    assert found - LIBRARIES - {"_distutils_hack"} == set()


def test_what_was_spared_can_be_imported_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("colorsys", "this_is_none"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with without("colorsys", "this_is_none"):
        with pytest.raises(ImportError):
            import colorsys  # noqa: PLC0415
        with pytest.raises(ImportError):
            __import__("this_is_none")
    import colorsys  # noqa: PLC0415

    assert colorsys.rgb_to_hsv(0.0, 0.0, 0.0) == (0.0, 0.0, 0.0)
    assert "this_is_none" not in sys.modules


def test_what_is_loaded_already_stays() -> None:
    with without("subprocess"), standing_in("subprocess", "run"):
        assert sys.modules["subprocess"] is subprocess
    assert sys.modules["subprocess"] is subprocess


def test_what_an_empty_module_stood_in_for_can_be_imported_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with standing_in("colorsys", "rgb_to_hsv"):
        assert vars(sys.modules["colorsys"])["rgb_to_hsv"] is None
        with pytest.raises(ImportError):
            from colorsys import hsv_to_rgb  # noqa: F401, PLC0415
    from colorsys import rgb_to_hsv  # noqa: PLC0415

    assert rgb_to_hsv(0.0, 0.0, 0.0) == (0.0, 0.0, 0.0)
