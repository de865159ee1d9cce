"""What of the README is shown at PyPI."""

import pytest

from hatch_build import absolute


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("[a](docs/a.md#b)", "[a](R/blob/v1/docs/a.md#b)"),
        ("![a](docs/a.png)", "![a](R/raw/v1/docs/a.png)"),
        ("[![a](b.png)](c.md)", "[![a](R/raw/v1/b.png)](R/blob/v1/c.md)"),
        ("[a](https://b.example/c)", "[a](https://b.example/c)"),
        ("[a](#b) and [c](mailto:d)", "[a](#b) and [c](mailto:d)"),
    ],
)
def test_links_into_the_repository_become_absolute(text: str, shown: str) -> None:
    assert absolute(text, "R", "v1") == shown
