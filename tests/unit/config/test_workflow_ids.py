"""Ids of workflows, one by one and in files."""

import pytest

from exporter.config import ErrorEntry, parse_workflow_id, parse_workflow_ids

A = "a1b2c3d4-e5f6-7890-abcd-ef1234567890"
B = "00000000-0000-0000-0000-000000000001"
REMEDY = "Write the UUID that the service gave, such as `a1b2c3d4-e5f6-7890-abcd-ef1234567890`."


@pytest.mark.parametrize(
    "text",
    [
        *(f" {A.upper()}\n", A.replace("-", ""), A.replace("-", "").upper()),
        *(f"{{{A}}}", f"{{{A.upper()}}}", f"{{{A.replace('-', '')}}}"),
        *(f"urn:uuid:{A}", f"URN:UUID:{A.upper()}", f"urn:uuid:{A.replace('-', '')}"),
    ],
)
def test_an_id_has_one_identity_in_each_spelling(text: str) -> None:
    assert parse_workflow_id(text) == A


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", A[:-1], A + "0", A + "\n" + A, A.replace("-", "", 1), A.replace("-", "")[:-1]),
        *(f"{{{A}", f"{A}}}", f"{{{{{A}}}}}", f"uuid:{A}", f"urn:{A}", f"urn:uuid:{{{A}}}"),
        *(f"a-{A[1:]}", A.replace("-", " "), A.replace("-", "_"), f"{A[:-1]}\u0661"),
    ],
)
def test_what_is_no_id(text: str) -> None:
    with pytest.raises(ValueError, match=r"^not a workflow id$"):
        parse_workflow_id(text)


def test_a_file_of_ids_in_several_spellings() -> None:
    bare, urn, braces = A.replace("-", ""), f"urn:uuid:{A}", f"'{{{A}}}'"
    assert parse_workflow_ids(f"- {bare}\n- {bare.upper()}\n- {B}\n") == ([A, B], [])
    assert parse_workflow_ids(f"- {B}\n- {urn}\n- {braces}\n") == ([B, A], [])


def test_a_file_of_ids() -> None:
    text = f"# tonight\n- {A.upper()}\n- {B}  # the long one\n- {A}\n"
    assert parse_workflow_ids(text) == ([A, B], [])
    assert parse_workflow_ids(f"[{A}, '{B}']") == ([A, B], [])


@pytest.mark.parametrize("text", ["", "# none today\n", "[]", "---\n", "~"])
def test_a_file_without_ids(text: str) -> None:
    assert parse_workflow_ids(text) == ([], [])


def test_bad_ids_leave_the_good_ones() -> None:
    ids, faults = parse_workflow_ids(f"- {A}\n- nonsense\n- 5\n-\n- [x]\n- !tag x\n- {B}\n")
    assert ids == [A, B]
    assert faults[0] == ErrorEntry(
        "[5]", "has a tag that is not allowed", "Leave out what begins with `!`.", 6
    )
    assert faults[1:] == [
        ErrorEntry(f"[{n - 1}]", "is not a workflow id", REMEDY, n) for n in (2, 3, 4, 5)
    ]


def test_variables_are_not_replaced() -> None:
    assert parse_workflow_ids("- ${HOME}\n")[0] == []


@pytest.mark.parametrize("text", [f"workflows: [{A}]", A])
def test_something_that_is_no_list(text: str) -> None:
    assert parse_workflow_ids(text) == (
        [],
        [
            ErrorEntry(
                "", "is not a list of workflow ids", "Write one id to a line, each after `- `.", 1
            )
        ],
    )


def test_something_that_is_no_yaml() -> None:
    ids, (fault,) = parse_workflow_ids(f"- {A}\n- [\n")
    assert ids == []
    assert fault.line == 3
    assert fault.reason.startswith("is not YAML at column 1: ")
