"""Which redirects are followed."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.comfycontrol.redirects import redirect_target

ORIGIN = "https://api.comfycontrol.test"
QUERY = "?page=2&per_page=100"
ASKED = f"{ORIGIN}/v1/workflow{QUERY}"
PARAMETERS = {"page": "2", "per_page": "100"}


def followed(location: str | None, asked: str = ASKED) -> str | None:
    return redirect_target(asked, location, resource="/workflow", parameters=PARAMETERS)


@pytest.mark.parametrize(
    ("location", "target"),
    [
        (f"/v1/workflow/{QUERY}", f"{ORIGIN}/v1/workflow/{QUERY}"),
        (f"{ORIGIN}/v1/workflow/{QUERY}", f"{ORIGIN}/v1/workflow/{QUERY}"),
        (f"HTTPS://API.comfycontrol.test:443/v2/workflow{QUERY}#top", None),
        (f"//api.comfycontrol.test/v2/workflow{QUERY}", f"{ORIGIN}/v2/workflow{QUERY}"),
        (f"workflow/{QUERY}", f"{ORIGIN}/v1/workflow/{QUERY}"),
        (f"../eu/workflow{QUERY}", f"{ORIGIN}/eu/workflow{QUERY}"),
        (
            "/v1/workflow?per_page=100&page=2&region=eu",
            f"{ORIGIN}/v1/workflow?per_page=100&page=2&region=eu",
        ),
    ],
)
def test_the_same_thing_at_the_same_origin(location: str, target: str | None) -> None:
    found = followed(location)
    if target is None:  # written in another way
        target = f"https://API.comfycontrol.test:443/v2/workflow{QUERY}"
    assert found == target


@pytest.mark.parametrize(
    "location",
    [
        # Another origin would get the token.
        f"http://api.comfycontrol.test/v1/workflow/{QUERY}",
        f"https://api.comfycontrol.test:8443/v1/workflow/{QUERY}",
        f"https://elsewhere.test/v1/workflow/{QUERY}",
        f"//elsewhere.test/v1/workflow/{QUERY}",
        f"https://api.comfycontrol.test.elsewhere.test/v1/workflow/{QUERY}",
        f"https://api.comfycontrol.test@elsewhere.test/v1/workflow/{QUERY}",
        f"https://user@api.comfycontrol.test/v1/workflow/{QUERY}",
        f"ftp://api.comfycontrol.test/v1/workflow/{QUERY}",
        # Parsers disagree about these.
        f"/\\elsewhere.test/v1/workflow/{QUERY}",
        f"/\t/elsewhere.test/v1/workflow/{QUERY}",
        f"https://elsewhere.test\n/v1/workflow/{QUERY}",
        f"https://api.comfycontrol.test:x/v1/workflow/{QUERY}",
        f"https://[/v1/workflow/{QUERY}",
        f"/v1/wörk/workflow{QUERY}",
        # Another thing, or another page of it.
        *("/", "/login", "/maintenance?page=2&per_page=100", f"/v1/workflow/x{QUERY}"),
        *("/v1/workflow/", "/v1/workflow/?page=1&per_page=100", "/v1/workflow/?page=2"),
        f"/v1/workflow/{QUERY}&page=1",
        f"/v1/runner{QUERY}",
        # The same place again, or none.
        *(ASKED, f"/v1/workflow{QUERY}", f"{QUERY}#again", "", None, "x" * 2049),
        f"/v1/workflow/{QUERY}" + "&x" * 200,
    ],
)
def test_anything_else_is_not_followed(location: str | None) -> None:
    assert followed(location) is None


def test_plain_http_stays_plain() -> None:
    asked = f"http://localhost:8000/v1/workflow{QUERY}"
    assert followed(f"/v1/workflow/{QUERY}", asked) == f"http://localhost:8000/v1/workflow/{QUERY}"
    assert followed(f"https://localhost:8000/v1/workflow/{QUERY}", asked) is None


PIECES = st.sampled_from(
    [
        *("https:", "http:", "//", "/", "\\", "@", ":", ":443", "#", "?", "..", "."),
        *("api.comfycontrol.test", "elsewhere.test", "v1/workflow", "/workflow", QUERY, " ", "\t"),
    ]
)


@given(location=st.text(max_size=30) | st.lists(PIECES, max_size=8).map("".join))
def test_the_token_never_leaves_the_origin(location: str) -> None:
    target = followed(location)
    if target is not None:
        parts = urlsplit(target)
        assert (parts.scheme, parts.hostname) == ("https", "api.comfycontrol.test")
        assert parts.port in {None, 443}
        assert parts.username is None
        assert not parts.fragment
