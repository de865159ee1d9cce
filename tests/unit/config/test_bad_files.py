"""One bad file per rule, in `testdata/bad/`, beside the exact message that it gets."""

from pathlib import Path

import pytest

from exporter.config import ConfigError, check, load
from tests.goldens import check_golden

BAD = Path(__file__).parent / "testdata" / "bad"
ENVIRON = {"COMFYCONTROL_TOKEN": "cfc_test"}


@pytest.mark.parametrize("path", sorted(BAD.glob("*.yml")), ids=lambda path: path.stem)
def test_message_of_a_bad_file(path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(path, ENVIRON)
    (fault,) = caught.value.errors
    check_golden(path.with_suffix(".txt"), f"{fault}\n".replace(str(BAD), "{folder}"))
    assert str(caught.value) == f"{path}: 1 error\n  {fault}"
    assert check(path, ENVIRON) == (1, str(caught.value))


@pytest.mark.parametrize("path", sorted(BAD.glob("*.yml")), ids=lambda path: path.stem)
def test_a_message_says_reason_and_remedy_and_no_secret(path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(path, ENVIRON)
    error = caught.value
    (fault,) = error.errors
    assert fault.reason
    assert not fault.reason.endswith(".")
    assert fault.hint
    assert "Planted" not in f"{error} {error!r} {error.errors!r}"
    # Anyone who prints the chain of causes must not find there what the message left out.
    assert error.__cause__ is None
    assert error.__context__ is None


def test_every_message_has_its_file() -> None:
    assert {p.stem for p in BAD.glob("*.txt")} == {p.stem for p in BAD.glob("*.yml")}
