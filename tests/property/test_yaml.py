"""Whatever YAML is written, every reader of it has an answer soon, and a fault has its line."""

import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.config import check, parse_workflow_ids
from exporter.config.document import read_document
from exporter.web.security.loading import check as check_web

TAGS = [
    *("int", "float", "bool", "null", "str", "binary", "timestamp", "merge", "value"),
    *("map", "seq", "set", "omap", "pairs", "python/object/apply:os.system"),
]
KEYS = [
    *("accounts", "name", "token", "token_file", "base_url", "listing", "interval", "workflows"),
    *("workflow_files", "metrics", "rate_limit", "per", "run_duration_buckets", "<<", "push"),
    *("tls_server_config", "cert_file", "key_file", "min_version", "basic_auth_users"),
    *("http_server_config", "headers", "rate_limit", "cipher_suites", "client_auth_type"),
]

texts = st.one_of(
    st.sampled_from(["", "~", "0x_", "1:30:00", "2001-12-14t21:59:43.10-05:00", ".inf", ".nan"]),
    st.sampled_from(["9" * 5000, "1" + ":1" * 30, "1e999", "0b", "-", "5s", "=", "0o", "!!", "&a"]),
    st.sampled_from([r'"\ud800"', r'"\x00"', r'"\U0010FFFF"', "*a", "*b", "'", '"', "|", "{", "["]),
    st.text(max_size=8),
)
scalars = st.one_of(
    texts,
    texts.map(lambda text: "'" + text.replace("'", "''") + "'"),
    st.tuples(st.sampled_from(TAGS), texts).map(lambda t: f'!!{t[0]} "{t[1]}"'),
    st.tuples(st.sampled_from(TAGS), texts).map(" ".join).map("!!{}".format),
)
keys = st.one_of(st.sampled_from(KEYS), scalars)
anchors = st.sampled_from(["", "", "", "&a ", "&b "])


def _within(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    listed = st.lists(values, max_size=4).map(lambda entries: f"[{', '.join(entries)}]")
    pairs = st.lists(st.tuples(keys, values), max_size=4)
    mapped = pairs.map(lambda entries: f"{{{', '.join(f'{k}: {v}' for k, v in entries)}}}")
    tags = st.one_of(st.just(""), st.sampled_from(TAGS).map("!!{} ".format))
    return st.tuples(anchors, tags, st.one_of(listed, mapped)).map("".join)


values = st.recursive(scalars, _within, max_leaves=12)
documents = st.one_of(
    st.lists(st.tuples(keys, values), max_size=5).map(
        lambda pairs: "".join(f"{key}: {value}\n" for key, value in pairs)
    ),
    st.lists(values, max_size=5).map(lambda entries: "".join(f"- {e}\n" for e in entries)),
    st.text(alphabet="-:?!&*#|>{}[],'\"% \n\tax0~<=", max_size=60),
)


@given(documents)
@settings(deadline=None)
def test_every_reader_has_an_answer(text: str) -> None:
    content = text.encode("utf-8", "surrogatepass")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.yml"
        path.write_bytes(content)
        for code, told in (check(path, {}), check_web(path)):
            assert code in {0, 1}
            assert told
            told.encode()  # a terminal can show it
    ids, faults = parse_workflow_ids(content.decode("utf-8", "replace"))
    assert ids or faults or not content.strip() or not read_document(text).data


HEAVY: dict[str, Callable[[], str]] = {
    "merge keys": lambda: "a: &a {b: 1}\n" + "".join(f"k{i}: {{<<: *a}}\n" for i in range(20_000)),
    "merge keys of one": lambda: "a: &a {b: 1}\nk:\n" + "  <<: *a\n" * 20_000,
    "merge keys in turn": lambda: (
        "k0: &k0 {a: 1}\n" + "".join(f"k{i}: &k{i} {{<<: *k{i - 1}}}\n" for i in range(1, 5000))
    ),
    "aliases": lambda: (
        "k0: &k0 [x]\n"
        + "".join(f"k{i}: &k{i} [{', '.join([f'*k{i - 1}'] * 9)}]\n" for i in range(1, 12))
    ),
    "aliases in turn": lambda: (
        "k0: &k0 [x]\n" + "".join(f"k{i}: &k{i} [*k{i - 1}]\n" for i in range(1, 5000))
    ),
    "brackets": lambda: "a: " + "[" * 500_000,
    "dashes": lambda: "- " * 500_000,
    "question marks": lambda: "? " * 500_000,
    "entries": lambda: "- a\n" * 250_000,
    "entries on a line": lambda: f"[{'a,' * 500_000}]",
    "the same key": lambda: "a: 1\n" * 150_000,
    "tags": lambda: "- !x a\n" * 20_000,
    "digits": lambda: "a: " + "9" * 1_000_000,
    "anchors": lambda: "".join(f"- &a{i} 1\n" for i in range(50_000)),
}


@pytest.mark.parametrize("make", HEAVY.values(), ids=HEAVY)
def test_what_is_heavy_has_its_fault_soon(make: Callable[[], str], tmp_path: Path) -> None:
    path = tmp_path / "file.yml"
    path.write_text(make())
    # A second of work by itself; the clock of this process alone, for others share the machine.
    for is_web in (False, True):
        began = time.process_time()
        code, told = check_web(path) if is_web else check(path, {})
        assert time.process_time() - began < 4.0
        assert code == 1
        assert "line " in told
        assert told.count("\n") <= 110


@given(st.integers(1, 300), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=30)
def test_a_plain_list_says_what_yaml_says(count: int, source: random.Random) -> None:
    def entry(number: int) -> str:
        workflow_id = f"{number:08x}-0000-4000-8000-00000000000A"
        quote = source.choice(["", "'", '"'])
        comment = source.choice(["", " # one", "\n# two", "  "])
        return f"  -  {quote}{workflow_id}{quote}{comment}"

    text = "\n".join(entry(source.randrange(1000)) for _ in range(count))
    # A document's end makes it take the long way.
    assert parse_workflow_ids(text) == parse_workflow_ids(f"{text}\n...\n")
    assert len(parse_workflow_ids(text)[0]) > 0


@given(st.lists(st.sampled_from(["word", "2 words", "12", "true", "~", "x: y", "#", "-", "''"])))
@settings(deadline=None)
def test_a_list_in_brackets_says_what_yaml_says(between: list[str]) -> None:
    entries = [f"{number:08x}-0000-4000-8000-00000000000a" for number in range(3)]
    text = "[" + ",\n ".join([*entries[:1], *between, *entries[1:]]) + "]"
    assert parse_workflow_ids(text) == parse_workflow_ids(f"{text}\n...\n")
