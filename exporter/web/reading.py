"""The endpoints by which programs read what the pages show.

    GET /api/v1/accounts              the first page
    GET /api/v1/workflows             a table of workflows, open ones or those that have ended
    GET /api/v1/workflows/{id}        the history of one

They need the same password as the pages, if there is one. The last two accept a push token as
well, and then show only the accounts of that token.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from exporter.config import parse_workflow_id
from exporter.interfaces.views import Overview, Views, WorkflowQuery, WorkflowRow, WorkflowStory
from exporter.web.answers import RefusedError
from exporter.web.elsewhere import refuse_those
from exporter.web.workers import Workers

ACCOUNTS_PATH: Final = "/api/v1/accounts"

SLICE: Final = "slice."
"""The prefix of a slice's label in the name of a parameter."""

MOST_PER_PAGE: Final = 1_000

_T = TypeVar("_T")
_Text = Annotated[str, Field(max_length=200)]
_Sort = Literal[
    "age", "status", "position", "run", "seen", "ended",
    "-age", "-status", "-position", "-run", "-seen", "-ended",
]  # fmt: skip


class WorkflowParameters(BaseModel):
    """The parameters of `GET /api/v1/workflows`."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    account: _Text | None = None
    """Only workflows of this account."""
    phase: Literal["open", "settled"] = "open"
    """Open workflows, or those that ended recently, including dropped ones."""
    status: _Text | None = None
    """Only workflows in this status; `other`: in a status that the exporter does not know."""
    node_type: _Text | None = None
    """Only workflows that failed in a node of this type."""
    id: _Text = ""
    """Only workflows whose id begins with this text."""
    sort: _Sort | None = None
    """The sort key; with `-`, the largest value comes first. The default is `-age`, and `-ended`
    for ended workflows."""
    page: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """The page number, from 1; a number beyond the last page returns the last page."""
    per_page: Annotated[int, Field(ge=1, le=MOST_PER_PAGE)] = 100
    """The number of rows per page."""

    def query(self, slices: dict[str, str]) -> WorkflowQuery:
        """Convert the parameters to a query for the views."""
        sort = self.sort or ("-ended" if self.phase == "settled" else "-age")
        key = sort.removeprefix("-")
        return WorkflowQuery(
            account=self.account,
            status=self.status,
            phase=self.phase,
            node_type=self.node_type,
            slices=slices,
            prefix=self.id,
            sort=key,  # type: ignore[arg-type]  # one of those above
            descending=sort.startswith("-"),
            page=self.page,
            per_page=self.per_page,
        )


@dataclass(frozen=True, slots=True)
class Workflows:
    """One page of a table of workflows."""

    workflows: tuple[WorkflowRow, ...]
    total: int
    """The number of workflows on all pages."""
    page: int
    pages: int
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    """Accounts that are not shown because other replicas count them: by account, the name of the
    replica; empty if it is unknown. Only with several replicas."""


OVERVIEW: Final = TypeAdapter(Overview)
WORKFLOWS: Final = TypeAdapter(Workflows)
STORY: Final = TypeAdapter(WorkflowStory)


class RequestBody:
    """The handlers; `accounts` are those of a push token, or None if there was none."""

    def __init__(self, views: Views, workers: Workers) -> None:
        self._views = views
        self._workers = workers

    async def overview(self, _: Request) -> Response:
        """Answer with the content of the first page."""
        return await self._answered(OVERVIEW, self._views.overview)

    async def workflows(self, request: Request, accounts: Collection[str] | None) -> Response:
        """Answer with a table of workflows."""
        query = _query(request.query_params.multi_items(), accounts)

        def show() -> Workflows:
            elsewhere = self._views.elsewhere()
            if query.account is not None:
                refuse_those(elsewhere, [query.account])
            elif elsewhere and not self._views.filters()["account"]:
                refuse_those(elsewhere, None)
            table = self._views.workflows(query)
            shown = {a: r for a, r in elsewhere.items() if accounts is None or a in accounts}
            return Workflows(table.rows, table.total, table.page, table.pages, shown)

        return await self._answered(WORKFLOWS, show)

    async def workflow(self, request: Request, accounts: Collection[str] | None) -> Response:
        """Answer with the history of one workflow."""
        try:
            workflow_id = parse_workflow_id(request.path_params["workflow_id"])
        except ValueError:
            raise RefusedError(400, "not a workflow id") from None

        def show() -> WorkflowStory:
            story = self._views.workflow(workflow_id)
            if story is None:
                refuse_those(self._views.elsewhere(), accounts)
            if story is None or (accounts is not None and story.row.account not in accounts):
                raise RefusedError(404, "nothing is known of this workflow")
            return story

        return await self._answered(STORY, show)

    async def _answered(self, adapter: TypeAdapter[_T], show: Callable[[], _T]) -> Response:
        # Reading the ledger waits for its lock, and ten thousand rows take some time.
        body = await self._workers.run(lambda: adapter.dump_json(show()))
        return Response(body, media_type="application/json")


def _query(pairs: Iterable[tuple[str, str]], accounts: Collection[str] | None) -> WorkflowQuery:
    each: dict[str, str] = {}
    for name, value in pairs:
        if name in each:
            raise RefusedError(400, "a parameter is given more than once")
        each[name] = value
    given = {name: value for name, value in each.items() if not name.startswith(SLICE)}
    slices = {name.removeprefix(SLICE): each[name] for name in each.keys() - given.keys()}
    try:
        parameters = WorkflowParameters.model_validate_strings(given)
    except ValidationError as error:
        raise RefusedError(400, _fault(error)) from None
    query = parameters.query(slices)
    if accounts is None:
        return query
    return _within(query, accounts)


def _within(query: WorkflowQuery, accounts: Collection[str]) -> WorkflowQuery:
    """Restrict a query to the accounts of the token."""
    if query.account is None and len(accounts) > 1:
        raise RefusedError(400, "name the account: the token belongs to several accounts")
    account = next(iter(accounts)) if query.account is None else query.account
    if account not in accounts:
        raise RefusedError(403, "this token does not belong to the account")
    return replace(query, account=account)


def _fault(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    if first["type"] == "extra_forbidden":
        known = ", ".join(WorkflowParameters.model_fields)
        return f"unknown parameter; there are {known} and {SLICE}<label>"
    return f"{first['loc'][0]}: {first['msg']}"
