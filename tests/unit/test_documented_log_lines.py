"""The log lines in the docs are those that the exporter writes."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest


def texts() -> Iterator[str]:
    """All texts in the code: a log line may be chosen, or passed on, before it is written."""
    for path in Path("exporter").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


TEXTS = set(texts())
PAGES = [Path("README.md"), *sorted(Path("docs").rglob("*.md"))]
SHOWN = sorted(
    {
        (str(page), quoted or plain)
        for page in PAGES
        for quoted, plain in re.findall(r'\bmsg=(?:"([^"…]+)"|([\w]+))', page.read_text("utf-8"))
    }
)


def test_there_are_some() -> None:
    assert len(SHOWN) > 10


@pytest.mark.parametrize(("page", "line"), SHOWN)
def test_a_log_line_in_the_docs_is_written_by_the_exporter(page: str, line: str) -> None:
    assert line in TEXTS, f"{page} shows a log line that the code does not have"
