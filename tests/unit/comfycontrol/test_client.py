"""The client against answers without sockets: statuses, headers, types, and what errors say."""

from __future__ import annotations

import functools
import re
import traceback
from typing import TYPE_CHECKING, Any

import pytest
import requests
import responses

from exporter.comfycontrol import (
    BadRequestError,
    Call,
    Client,
    ForbiddenError,
    NotFoundError,
    RateLimitedError,
    RedirectedError,
    RequestRecord,
    ServerFaultError,
    ServiceError,
    UnauthorizedError,
    UnreachableError,
    UnusableError,
)
from exporter.comfycontrol.connections import make_tls_context

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

URL = "https://api.comfycontrol.test"
WORKFLOW = "a1b2c3d4-e5f6-7890-abcd-ef1234567890"
LIST = f"{URL}/v1/workflow"
GET = f"{LIST}/{WORKFLOW}"
SUBSCRIBE = f"{GET}/subscribe"
TOKEN = "cfc_secret"
NOW = 1705329000.0


# Nothing here connects, and reading the authorities again for each test would take most of the
# time.
one_tls_context = functools.cache(make_tls_context)


class Ticks:
    """A clock that goes on a second each time that it is read."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        self.seconds += 1
        return self.seconds


@pytest.fixture
def records() -> list[RequestRecord]:
    return []


@pytest.fixture
def client(records: list[RequestRecord], monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("exporter.comfycontrol.client.make_tls_context", one_tls_context)
    with Client(
        URL,
        lambda: TOKEN,
        max_streams=2,
        on_request=records.append,
        monotonic=Ticks(),
        now=lambda: NOW,
    ) as client:
        yield client


@pytest.fixture
def service() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


@responses.activate
def test_list(client: Client, records: list[RequestRecord]) -> None:
    responses.get(
        LIST,
        match=[
            responses.matchers.query_param_matcher(
                {"page": "3", "per_page": "100", "status": "failed"}
            )
        ],
        json={"workflows": [{"id": WORKFLOW, "status": "failed"}, None], "total": 7},
        headers={"Date": "Mon, 15 Jan 2024 14:30:05 GMT"},
    )
    page = client.list_workflows(page=3, status="failed")
    assert [workflow.id for workflow in page.workflows] == [WORKFLOW]
    assert (page.total, page.malformed, page.entries) == (7, 1, 2)
    assert page.service_time == 1705329005.0
    assert records == [RequestRecord("list", "200", 1.0)]


def test_list_through_its_pages(client: Client, service: responses.RequestsMock) -> None:
    ids = [f"{number:08}-0000-0000-0000-000000000000" for number in range(250)]

    def answer(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        match = re.search(r"page=(\d+)&per_page=(\d+)$", request.url or "")
        assert match is not None
        page, size = int(match[1]), int(match[2])
        entries = ids[(page - 1) * size : page * size]
        rows = ",".join(f'{{"id":"{one}","status":"queued"}}' for one in entries)
        return 200, {}, f'{{"workflows":[{rows}],"total":250}}'

    service.add_callback(responses.GET, LIST, answer, content_type="application/json")
    pages = [client.list_workflows(page=page) for page in (1, 2, 3, 4)]
    assert [len(page.workflows) for page in pages] == [100, 100, 50, 0]
    assert [one.id for page in pages for one in page.workflows] == ids


@responses.activate
def test_get(client: Client, records: list[RequestRecord]) -> None:
    responses.get(GET, json={"status": "failed", "error_node": "KSampler"})
    assert client.get_workflow(WORKFLOW.upper()).error_node == "KSampler"
    assert records == [RequestRecord("get", "200", 1.0)]


@responses.activate
@pytest.mark.parametrize(
    "spelling",
    [WORKFLOW.upper(), WORKFLOW.replace("-", ""), f"{{{WORKFLOW}}}", f"urn:uuid:{WORKFLOW}"],
)
def test_an_id_is_sent_in_one_spelling(spelling: str, client: Client) -> None:
    responses.get(GET, json={"status": "queued"})
    assert client.get_workflow(spelling).status == "queued"
    assert [call.request.url for call in responses.calls] == [GET]


@responses.activate
def test_subscribe(client: Client, records: list[RequestRecord]) -> None:
    responses.get(
        SUBSCRIBE,
        body=b'data: {"status":"queued"}\n\ndata: {"status":"completed"}\n\n',
        content_type="text/event-stream; charset=utf-8",
    )
    stream = client.subscribe(WORKFLOW)
    assert stream.response.raw.read().count(b"status") == 2
    stream.close()
    assert records == [RequestRecord("subscribe", "200", 1.0)]


@pytest.mark.parametrize("endpoint", ["list", "get", "subscribe"])
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequestError),
        (401, UnauthorizedError),
        (403, ForbiddenError),
        (404, NotFoundError),
        (429, RateLimitedError),
        *((status, ServerFaultError) for status in (500, 502, 503, 504, 520, 599)),
        *((status, ServerFaultError) for status in (402, 405, 408, 410, 418, 451, 600, 999)),
        *((status, RedirectedError) for status in (300, 301, 302, 303, 304, 307, 308)),
        *((status, UnusableError) for status in (201, 202, 204, 206)),
    ],
)
def test_statuses(
    status: int,
    kind: type[ServiceError],
    endpoint: str,
    client: Client,
    records: list[RequestRecord],
    service: responses.RequestsMock,
) -> None:
    body = f'{{"status":{status},"message":"secret message"}}'
    for url in (LIST, GET, SUBSCRIBE):
        service.get(
            url,
            status=status,
            body=body,
            content_type="application/json",
            headers={"Location": "https://elsewhere.test/secret"},
        )
    with pytest.raises(ServiceError) as caught:
        ask(client, endpoint)
    assert type(caught.value) is kind
    assert caught.value.code == str(status)
    assert str(caught.value) == f"{endpoint}: answered with status {status}"
    assert [(record.endpoint, record.code) for record in records] == [(endpoint, str(status))]
    assert len(service.calls) == 1


HTML = "<!DOCTYPE html><html><title>Just a moment...</title></html>"
OWN = '{"status":404,"message":"No such workflow."}'


@pytest.mark.parametrize("endpoint", ["list", "get", "subscribe"])
@pytest.mark.parametrize(
    ("kind", "body", "is_own"),
    [
        # The service's own: JSON by its type, or an object that can be read whatever its type.
        ("application/json", OWN, True),
        ("Application/JSON; charset=utf-8", " \r\n" + OWN, True),
        ("application/problem+json", OWN, True),
        ("application/json", OWN[:20], True),
        ("application/json", '{"message":"\\ud83d"}', True),
        ("application/json", '{"message":"' + 100_000 * "x" + '"}', True),
        ("application/json", "\ufeff" + OWN, True),
        ("text/plain", OWN, True),
        ("text/html", OWN, True),
        ("", OWN, True),
        # An edge's.
        ("text/html; charset=UTF-8", HTML, False),
        ("text/plain; charset=UTF-8", "error code: 1020", False),
        ("", HTML, False),
        ("", "", False),
        ("text/html", "", False),
        ("application/json", "", False),
        ("application/json", HTML, False),
        ("application/json", "null", False),
        ("text/plain", OWN[:20], False),
        ("text/plain", '["a"]', False),
        ("text/plain", "{" * 5000, False),
        ("text/plain", '{"message":"' + 5000 * "x" + '"}', False),
    ],
)
def test_a_refusal_counts_only_where_it_is_the_services_own(
    endpoint: str,
    kind: str,
    body: str,
    is_own: bool,
    client: Client,
    service: responses.RequestsMock,
    records: list[RequestRecord],
) -> None:
    for status, own in ((400, BadRequestError), (403, ForbiddenError), (404, NotFoundError)):
        for url in (LIST, GET, SUBSCRIBE):
            service.upsert(responses.GET, url, status=status, body=body, content_type=kind or None)
        with pytest.raises(ServiceError) as caught:
            ask(client, endpoint)
        assert type(caught.value) is (own if is_own else ServerFaultError)
        assert caught.value.code == str(status)
        assert "message" not in str(caught.value)
    assert [record.code for record in records] == ["400", "403", "404"]


@pytest.mark.parametrize(("status", "kind"), [(401, UnauthorizedError), (429, RateLimitedError)])
@pytest.mark.parametrize("body", [HTML, OWN, ""])
def test_a_401_and_a_429_mean_the_same_whoever_says_it(
    status: int,
    kind: type[ServiceError],
    body: str,
    client: Client,
    service: responses.RequestsMock,
) -> None:
    service.get(LIST, status=status, body=body, content_type="text/html")
    with pytest.raises(kind):
        client.list_workflows(page=1)


def test_the_services_clock_is_that_of_its_latest_usable_answer(
    client: Client, service: responses.RequestsMock
) -> None:
    assert client.service_wall() is None
    service.get(GET, json={"status": "queued"})
    client.get_workflow(WORKFLOW)
    assert client.service_wall() is None  # no Date, no time
    service.upsert(
        responses.GET,
        GET,
        json={"status": "queued"},
        headers={"Date": "Mon, 15 Jan 2024 14:30:05 GMT"},
    )
    client.get_workflow(WORKFLOW)
    told = 1705329005.0
    # Each look at the clock lets a second pass.
    assert client.service_wall() == told + 1
    assert client.service_wall() == told + 2
    # The page of an edge tells the time of the edge; a refusal tells none that matters.
    for status, date in ((503, "2034"), (404, "2044")):
        service.upsert(
            responses.GET,
            GET,
            status=status,
            body="{}",
            headers={"Date": f"Sun, 15 Jan {date} 14:30:05 GMT"},
        )
        with pytest.raises(ServiceError):
            client.get_workflow(WORKFLOW)
    assert client.service_wall() == told + 7


def ask(client: Client, endpoint: str, target: str | None = None) -> object:
    call = Call(target)
    if endpoint == "list":
        return client.list_workflows(page=1, call=call)
    asks = client.get_workflow if endpoint == "get" else client.subscribe
    return asks(WORKFLOW, call)


@pytest.mark.parametrize("status", [204, 302, 400, 401, 403, 404, 410, 429, 500, 503])
@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"Retry-After": "10"}, 10.0),
        ({"Retry-After": " 2.5 "}, 2.5),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": "99999999"}, 3600.0),
        ({"Retry-After": "9" * 400}, None),
        *(({"Retry-After": value}, None) for value in ("", "-3", "inf", "nan", "soon", "1e3")),
        # By our clock, where the service does not tell its own.
        ({"Retry-After": "Mon, 15 Jan 2024 14:30:30 GMT"}, 30.0),
        ({"Retry-After": "Mon, 15 Jan 2024 14:29:30 GMT"}, 0.0),
        ({"Retry-After": "Mon, 15 Jan 2029 14:29:30 GMT"}, 3600.0),
        (
            {
                "Retry-After": "Mon, 15 Jan 2024 14:30:30 GMT",
                "Date": "Mon, 15 Jan 2024 14:30:10 GMT",
            },
            20.0,
        ),
    ],
)
def test_retry_after(
    headers: dict[str, str],
    expected: float | None,
    status: int,
    client: Client,
    service: responses.RequestsMock,
) -> None:
    service.get(LIST, status=status, headers=headers)
    with pytest.raises(ServiceError) as caught:
        client.list_workflows(page=1)
    assert caught.value.retry_after == expected


@pytest.mark.parametrize(
    ("content_type", "body"),
    [("text/html", "<html>"), ("application/json", "<html>"), ("application/json", "[]")],
)
def test_retry_after_of_an_answer_that_is_none(
    content_type: str, body: str, client: Client, service: responses.RequestsMock
) -> None:
    service.get(LIST, body=body, content_type=content_type, headers={"Retry-After": "7"})
    with pytest.raises(UnusableError) as caught:
        client.list_workflows(page=1)
    assert caught.value.retry_after == 7.0


@pytest.mark.parametrize(
    ("endpoint", "content_type", "is_usable"),
    [
        *(("list", kind, True) for kind in ("application/json", "Application/JSON; charset=utf-8")),
        *(("list", kind, True) for kind in ("application/problem+json", "text/json", "")),
        *(("list", kind, True) for kind in ("text/plain;charset=x", "application/octet-stream")),
        ("list", "text/html; charset=utf-8", True),
        *(("list", kind, False) for kind in ("application/xhtml+xml", "application/jsonp", ";")),
        *(("subscribe", kind, True) for kind in ("text/event-stream", "TEXT/Event-Stream;x=y")),
        *(
            ("subscribe", kind, False)
            for kind in ("text/html", "application/json", "", "text/plain")
        ),
    ],
)
def test_content_types(
    endpoint: str,
    content_type: str,
    is_usable: bool,
    client: Client,
    service: responses.RequestsMock,
    records: list[RequestRecord],
) -> None:
    body = '{"workflows":[]}' if endpoint == "list" else 'data: {"status":"completed"}\n\n'
    for url in (LIST, SUBSCRIBE):
        service.get(url, body=body, content_type=content_type)
    if content_type == ";":
        is_usable = True  # as good as none
    if is_usable:
        ask(client, endpoint)
    else:
        with pytest.raises(UnusableError, match="content type") as caught:
            ask(client, endpoint)
        assert caught.value.code == "200"
    assert [record.code for record in records] == ["200"]


HTML_TYPES = ("text/html", "Text/HTML; charset=UTF-8")


@pytest.mark.parametrize("content_type", HTML_TYPES)
@pytest.mark.parametrize(
    "body", [HTML, "", "[]", "{}", '{"message":"down"}', '{"workflows":7}', '{"workflows":[']
)
@pytest.mark.parametrize("endpoint", ["list", "get"])
def test_a_page_stays_a_page(
    content_type: str,
    body: str,
    endpoint: str,
    client: Client,
    service: responses.RequestsMock,
) -> None:
    for url in (LIST, GET):
        headers = {"Date": "Sun, 15 Jan 2034 14:30:05 GMT"}
        service.get(url, body=body, content_type=content_type, headers=headers)
    with pytest.raises(UnusableError, match="content type") as caught:
        ask(client, endpoint)
    assert (caught.value.code, caught.value.__context__) == ("200", None)
    assert client.service_wall() is None  # it has the time of a proxy


@pytest.mark.parametrize("content_type", HTML_TYPES)
def test_a_document_that_is_labelled_as_a_page_is_read(
    content_type: str, client: Client, service: responses.RequestsMock
) -> None:
    headers = {"Date": "Mon, 15 Jan 2024 14:30:05 GMT"}
    service.get(LIST, body='{"workflows":[],"total":0}', content_type=content_type, headers=headers)
    service.get(GET, body='{"status":"queued"}', content_type=content_type)
    assert client.list_workflows(page=1).total == 0
    assert client.get_workflow(WORKFLOW).status == "queued"
    assert client.service_wall() is not None


def test_an_answer_that_a_proxy_passed_on_is_read(
    client: Client, service: responses.RequestsMock, records: list[RequestRecord]
) -> None:
    service.get(LIST, status=203, json={"workflows": [], "total": 3})
    service.get(GET, status=203, body=HTML, content_type="text/html")
    service.get(SUBSCRIBE, status=203, body="", content_type="text/event-stream")
    assert client.list_workflows(page=1).total == 3
    with pytest.raises(UnusableError, match="content type") as caught:
        client.get_workflow(WORKFLOW)
    assert caught.value.code == "203"
    client.subscribe(WORKFLOW).close()
    assert [record.code for record in records] == ["203", "203", "203"]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize(
    ("endpoint", "location"),
    [
        ("list", f"{LIST}/?page=1&per_page=100"),
        ("get", f"{GET}/"),
        ("subscribe", f"{URL}/v2/workflow/{WORKFLOW}/subscribe"),
    ],
)
def test_a_redirect_within_the_origin_is_the_next_request(
    status: int,
    endpoint: str,
    location: str,
    client: Client,
    service: responses.RequestsMock,
    records: list[RequestRecord],
) -> None:
    asked = {"list": LIST, "get": GET, "subscribe": SUBSCRIBE}[endpoint]
    service.get(asked, status=status, headers={"Location": location})
    target = location.partition("?")[0]
    if endpoint == "subscribe":
        service.get(target, body="", content_type="text/event-stream")
    else:
        service.get(target, json={"workflows": [], "status": "queued"})
    with pytest.raises(RedirectedError) as caught:
        ask(client, endpoint)
    assert caught.value.target == location
    assert len(service.calls) == 1  # the caller decides when the next one goes
    ask(client, endpoint, caught.value.target)
    assert service.calls[1].request.url == location
    assert service.calls[1].request.headers["Authorization"] == f"Bearer {TOKEN}"
    assert [record.code for record in records] == [str(status), "200"]


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (302, {}),
        (302, {"Location": "https://elsewhere.test/v1/workflow/?page=1&per_page=100"}),
        (302, {"Location": f"{URL.replace('https', 'http')}/v1/workflow/?page=1&per_page=100"}),
        (302, {"Location": "/login"}),
        (302, {"Location": "/v1/workflow/"}),
        (307, {"Location": f"{LIST}/?page=1&per_page=100", "Retry-After": "7"}),
        *((status, {"Location": f"{LIST}/?page=1&per_page=100"}) for status in (300, 303, 304)),
    ],
)
def test_other_redirects_lead_nowhere(
    status: int, headers: dict[str, str], client: Client, service: responses.RequestsMock
) -> None:
    service.get(LIST, status=status, headers=headers)
    with pytest.raises(RedirectedError) as caught:
        client.list_workflows(page=1)
    assert caught.value.target is None


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "compress"])
def test_encodings_that_were_not_asked_for(
    encoding: str, client: Client, service: responses.RequestsMock
) -> None:
    service.get(LIST, json={"workflows": []}, headers={"Content-Encoding": encoding})
    with pytest.raises(UnusableError, match="encoding"):
        client.list_workflows(page=1)


@pytest.mark.parametrize("body", ["", "{", "[]", "null", '{"status":3}', "[" * 10_000])
@pytest.mark.parametrize("endpoint", ["list", "get"])
def test_documents_that_are_none(
    endpoint: str, body: str, client: Client, service: responses.RequestsMock
) -> None:
    for url in (LIST, GET):
        service.get(url, body=body, content_type="application/json")
    with pytest.raises(UnusableError) as caught:
        ask(client, endpoint)
    assert caught.value.code == "200"
    assert caught.value.__context__ is None


@responses.activate
def test_netrc_does_not_replace_the_token(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine api.comfycontrol.test login me password other\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    assert requests.utils.get_netrc_auth(URL) == ("me", "other")
    responses.get(LIST, json={"workflows": []})
    client.list_workflows(page=1)
    assert responses.calls[0].request.headers["Authorization"] == f"Bearer {TOKEN}"


@responses.activate
def test_cookies_are_not_kept(client: Client) -> None:
    responses.get(LIST, json={"workflows": []}, headers={"Set-Cookie": "a=b; Path=/"})
    client.list_workflows(page=1)
    client.list_workflows(page=1)
    assert "Cookie" not in responses.calls[1].request.headers


@pytest.mark.parametrize(
    "error",
    [
        requests.ConnectionError(f"Bearer {TOKEN} at {SUBSCRIBE}?secret=1"),
        requests.exceptions.InvalidHeader(f"Bearer {TOKEN} at {SUBSCRIBE}?secret=1"),
        requests.exceptions.ChunkedEncodingError(f"Bearer {TOKEN}?secret=1"),
        OSError(f"{TOKEN}?secret=1"),
        ValueError(f"{TOKEN}?secret=1"),
    ],
)
def test_errors_hold_nothing_of_what_was_sent(
    error: Exception,
    client: Client,
    service: responses.RequestsMock,
    records: list[RequestRecord],
) -> None:
    service.get(SUBSCRIBE, body=error)
    with pytest.raises(UnreachableError) as caught:
        client.subscribe(WORKFLOW)
    text = "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value))
    assert TOKEN not in text
    assert "secret=1" not in text
    assert caught.value.__context__ is None
    assert caught.value.code == "error"
    assert records == [RequestRecord("subscribe", "error", 1.0)]


@pytest.mark.parametrize("token", ["", "a b", "a\nb", "cfc_x\n", "ü", "\x00", "\x7f"])
def test_a_token_that_no_header_can_hold_is_not_sent(
    token: str, records: list[RequestRecord]
) -> None:
    with (
        Client(URL, lambda: token, max_streams=1, on_request=records.append) as client,
        pytest.raises(UnauthorizedError) as caught,
    ):
        client.list_workflows(page=1)
    assert caught.value.code == "error"
    assert records == []


def test_what_the_credentials_raise_is_passed_on(records: list[RequestRecord]) -> None:
    def credentials() -> str:
        raise FileNotFoundError("the token file")

    with (
        Client(URL, credentials, max_streams=1, on_request=records.append) as client,
        pytest.raises(FileNotFoundError),
    ):
        client.list_workflows(page=1)
    assert records == []


@pytest.mark.parametrize(
    "url",
    [
        *("", "api.comfycontrol.app", "ftp://host", "https://", "https:///path", "//host"),
        *("https://user:secret@host", "https://secret@host", "https://host?secret", "https://h#s"),
        *("https://host:secret", "https://host:99999", "https://exa mple", "https://[::1"),
    ],
)
def test_base_urls_that_cannot_be_used(url: str) -> None:
    with pytest.raises(ValueError, match="URL") as caught:
        Client(url, str, max_streams=1, on_request=print)
    assert "secret" not in "".join(traceback.format_exception(caught.value)[-1:])


@pytest.mark.parametrize("workflow_id", ["", "x", "..", WORKFLOW + "/..", f"{{{WORKFLOW}"])
def test_ids_that_are_none_are_not_asked_for(
    workflow_id: str, client: Client, records: list[RequestRecord]
) -> None:
    with pytest.raises(ValueError, match="not a workflow id"):
        client.subscribe(workflow_id)
    with pytest.raises(ValueError, match="not a workflow id"):
        client.get_workflow(workflow_id)
    assert records == []


@pytest.mark.parametrize("arguments", [{"page": -1}, {"page": 1, "per_page": 0}])
def test_pages_that_are_none_are_not_asked_for(arguments: Any, client: Client) -> None:
    with pytest.raises(ValueError, match="pages"):
        client.list_workflows(**arguments)


def test_a_closed_client_asks_nothing(client: Client, records: list[RequestRecord]) -> None:
    client.close()
    client.close()
    with pytest.raises(ServiceError, match="aborted"):
        client.list_workflows(page=1)
    assert records == []
