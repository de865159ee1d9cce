"""What the scraper of the soak test takes for a failed scrape: what Prometheus would."""

import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
import trustme

from benchmarks.soak import patient
from benchmarks.soak.attacks import Target
from benchmarks.soak.patient import PatientScraper

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n\n"
HALF = ANSWER[:-1]
FAULT = b"HTTP/1.1 503 Full\r\nContent-Length: 0\r\n\r\n"

Life = Sequence[bytes]
"""The answers that one connection gives. With an empty one, or after the last, it is closed."""


@contextmanager
def serving(folder: Path, lives: Sequence[Life]) -> Iterator[PatientScraper]:
    """A server whose connections live like this, one after the other, and its scraper."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            for life in lives:
                plain, _ = listening.accept()
                with suppress(OSError), context.wrap_socket(plain, server_side=True) as client:
                    for answer in life:
                        client.recv(1000)
                        client.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        port: int = listening.getsockname()[1]
        target = Target("127.0.0.1", port, 0, folder / "ca.pem", "", "", folder)
        with closing(PatientScraper(target)) as scraper:
            yield scraper
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture(autouse=True)
def no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patient, "REST_SECONDS", 0.0)


def test_a_connection_that_was_closed_between_two_scrapes_is_no_failure(tmp_path: Path) -> None:
    with serving(tmp_path, [[ANSWER], [ANSWER]]) as scraper:
        scraper.scrape()
        scraper.scrape()
    assert scraper.closed.total() == 1
    assert not scraper.failed


def test_nor_is_one_that_was_closed_instead_of_an_answer(tmp_path: Path) -> None:
    with serving(tmp_path, [[ANSWER, ANSWER, b""], [ANSWER]]) as scraper:
        for _ in range(3):
            scraper.scrape()
    assert scraper.closed.total() == 1
    assert "instead of an answer" in next(iter(scraper.closed))
    assert not scraper.failed


@pytest.mark.parametrize(
    ("lives", "error"),
    [
        ([[b""], [ANSWER]], "RemoteDisconnected, on a fresh connection"),
        ([[HALF], [ANSWER]], "IncompleteRead, in the middle of an answer"),
        ([[FAULT], [ANSWER]], "status 503"),
        ([[ANSWER, HALF], [ANSWER]], "IncompleteRead, in the middle of an answer"),
    ],
)
def test_what_fails_on_a_fresh_connection_or_has_begun_is_one(
    tmp_path: Path, lives: Sequence[Life], error: str
) -> None:
    with serving(tmp_path, lives) as scraper:
        for _ in range(sum(life.count(ANSWER) for life in lives)):
            scraper.scrape()
    assert [failed.error for failed in scraper.failed] == [error]
