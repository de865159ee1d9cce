"""One service is one address, however it is spelt."""

import pytest
from pydantic import ValidationError

from exporter.config import Account, Config, Listing, RateLimit
from exporter.config.addresses import sends_in_clear


def address(base_url: str) -> str:
    return account(base_url).address


def account(base_url: str, name: str = "studio", **more: object) -> Account:
    return Account.model_validate(
        {"name": name, "token": "x", "base_url": base_url, "listing": Listing(), **more}
    )


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LocalHost",
        "localhost.",
        "simulator.localhost",
        "localhost.localdomain",
        "ip6-localhost",
        "127.0.0.1",
        "127.0.0.1.",
        "127.0.1.1",
        "127.1",
        "0x7f.1",
        "0x7F000001",
        "0177.0.0.01",
        "017700000001",
        "2130706433",
        "0.0.0.0",
        "0",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::0001]",
        "[::1%lo]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::FFFF:7f00:1]",
    ],
)
def test_every_spelling_of_this_machine_is_one_host(host: str) -> None:
    assert address(f"http://{host}:8080") == "localhost:8080"
    assert address(f"https://{host}:8443/service/") == "localhost:8443"
    assert address(f"http://{host}") == "localhost"
    assert not sends_in_clear(account(f"http://{host}:8080").base_url)


@pytest.mark.parametrize(
    ("spellings", "shown"),
    [
        (
            (
                "https://api.comfycontrol.app",
                "https://API.ComfyControl.App/",
                "https://api.comfycontrol.app.",
                "https://api.comfycontrol.app:443",
                "https://api.comfycontrol.app:0443/v2",
                "https://api.comfycontrol.app:",
                # The limit is that of the edge, which takes both.
                "http://api.comfycontrol.app",
                "http://api.comfycontrol.app:80",
                "http://api.comfycontrol.app:443",
            ),
            "api.comfycontrol.app",
        ),
        (
            ("https://xn--bcher-kva.example:81", "https://XN--BCHER-KVA.example:81"),
            "xn--bcher-kva.example:81",
        ),
        (("http://10.0.0.1:81", "http://10.1:81", "http://[::ffff:a00:1]:81"), "10.0.0.1:81"),
        (
            (
                "http://[2001:db8::1]:81",
                "http://[2001:DB8:0:0::0001]:81",
                "http://[2001:0db8:0000:0000:0000:0000:0000:0001]:81",
            ),
            "[2001:db8::1]:81",
        ),
        (
            ("http://[fe80::1%eth0]", "http://[fe80::1%25eth0]", "http://[fe80::1%2]"),
            "[fe80::1]",
        ),
    ],
)
def test_every_spelling_of_another_one_too(spellings: tuple[str, ...], shown: str) -> None:
    assert {address(each) for each in spellings} == {shown}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://localhost:8080", "http://localhost:8081"),
        ("http://localhost:8080", "http://localhost"),
        ("https://api.comfycontrol.app", "https://comfycontrol.app"),
        ("https://api.comfycontrol.app", "https://api.comfycontrol.app:8443"),
        ("http://localhost", "http://localhost.example.com"),
        ("http://localhost", "http://mylocalhost"),
        ("http://localhost", "http://other.localdomain"),
        ("http://10.0.0.1", "http://10.0.0.2"),
        ("http://127.0.0.1", "http://127.0.0.1.example"),
        # Not octal, so no number, and a name like any other.
        ("http://127.0.0.8", "http://127.0.0.08"),
    ],
)
def test_others_stay_others(one: str, other: str) -> None:
    assert address(one) != address(other)


def test_the_service_is_asked_as_it_is_spelt() -> None:
    # Its certificate is for that name.
    assert account("https://127.0.0.1.:8443").base_url == "https://127.0.0.1.:8443"
    assert account("http://API.localhost.:80").base_url == "http://api.localhost."


@pytest.mark.parametrize(
    "base_url",
    [
        "https://studio@api.comfycontrol.app",
        "https://studio:secret@api.comfycontrol.app",
        "https://api%2ecomfycontrol.app",
        "http://%6cocalhost",
        "https://bücher.example",
        "https://\uff41pi.comfycontrol.app",
        "https://api\u3002comfycontrol.app",
    ],
)
def test_spellings_that_could_hide_a_host_are_refused(base_url: str) -> None:
    with pytest.raises(ValidationError, match="base_url"):
        account(base_url)


def test_two_spellings_have_one_limit() -> None:
    spellings = ("http://localhost:8080", "http://127.1:8080")
    first, second = (account(url, name) for url, name in zip(spellings, "ab", strict=True))
    assert Config(accounts=(first, second)).accounts == (first, second)
    other = account("http://[::1]:8080", "c", rate_limit=RateLimit(requests=7))
    with pytest.raises(ValidationError, match=r"differs from that of accounts\[0\]"):
        Config(accounts=(first, other))


def test_a_limit_above_the_documented_one_is_warned_of_in_every_spelling() -> None:
    above = RateLimit(requests=50)
    for url in ("https://api.comfycontrol.app", "https://api.comfycontrol.app."):
        config = Config(accounts=(account(url, rate_limit=above),))
        assert [warning.key for warning in config.warnings()] == ["accounts[0].rate_limit"]
