"""The service's calls: list workflows, get one, subscribe to one.

Each call sends exactly one request. Waiting for the rate limit, retrying and following a redirect
is up to the caller.
"""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NoReturn, TypeVar
from urllib.parse import urlsplit

import requests
from requests.utils import get_environ_proxies

from exporter import __version__
from exporter.comfycontrol.answers import (
    MAX_REFUSAL_SIZE,
    Endpoint,
    another_type,
    is_page,
    judge,
    retry_after,
)
from exporter.comfycontrol.connections import Adapter, Call, make_tls_context
from exporter.comfycontrol.deadlines import Watchdog
from exporter.comfycontrol.documents import MalformedDocumentError
from exporter.comfycontrol.errors import (
    AbortedError,
    RedirectedError,
    TooLargeError,
    UnauthorizedError,
    UnreachableError,
    UnusableError,
)
from exporter.comfycontrol.failures import CALL_ERRORS, Failure, describe_failure
from exporter.comfycontrol.listing import (
    MAX_BODY_SIZE,
    WorkflowDetail,
    WorkflowPage,
    parse_detail,
    parse_page,
)
from exporter.comfycontrol.redirects import FOLLOWED, redirect_target
from exporter.comfycontrol.runners import RunnerPage, parse_runners
from exporter.comfycontrol.stamps import parse_http_date
from exporter.comfycontrol.stream import Stream
from exporter.uuids import normalize_workflow_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import Self

USER_AGENT = f"comfycontrol-exporter/{__version__} (+python-requests/{requests.__version__})"

_TOKEN = re.compile(r"[\x21-\x7e]+", re.ASCII)

_READ_SIZE = 65536

_REFUSAL_SECONDS = 2.0
"""Seconds for reading the beginning of a refusal's body."""

_OVERDUE = Failure("timeout", "took too long as a whole")

_VERSION = "/v1"

_Document = TypeVar("_Document")


@dataclass(frozen=True, slots=True)
class _Opened:
    """An answer that may be usable, and whose body is unread."""

    response: requests.Response
    at: float
    """When its headers arrived; monotonic seconds."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """The time limits of a call, in seconds.

    Attributes:
        connect: connecting to one address.
        read: the gap between two bytes.
        headers: from the start of a call to the end of its headers, even if some bytes arrive.
        body: from the end of the headers to the end of the body of a list or of one workflow.
        silence: the time without a well-formed snapshot in a stream, even if other bytes arrive.
    """

    connect: float = 5.0
    read: float = 15.0
    headers: float = 15.0
    body: float = 30.0
    silence: float = 15.0


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """The outcome of one request.

    Attributes:
        endpoint: which endpoint was requested.
        code: the status of the answer, or ``error`` where there was none.
        seconds: the time until the headers arrived or the request failed.
    """

    endpoint: Endpoint
    code: str
    seconds: float


class Client:
    """A client of the service for one account. Any number of threads may use it.

    Every call without a usable answer raises a ``ServiceError``; the service and the network never
    cause another exception. Proxies and certificate authorities come from the environment.
    """

    def __init__(  # noqa: PLR0913 - all but two by name, and most with a default
        self,
        base_url: str,
        credentials: Callable[[], str],
        *,
        max_streams: int,
        on_request: Callable[[RequestRecord], None],
        timeouts: Timeouts | None = None,
        bind: str | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Create the client, without connecting.

        Args:
            base_url: the URL of the service: scheme, host, and a prefix for its paths.
            credentials: returns the token, at each call. Its exceptions are passed on.
            max_streams: how many connections are kept in the pool.
            on_request: called once for each request, by the thread that sends it, when its headers
                have arrived or it has failed. Must not raise.
            timeouts: the time limits.
            bind: the local IP address of the connections; None: the system chooses one.
            monotonic: the clock for durations, in seconds.
            now: the clock for comparisons with dates, in seconds since the epoch.

        Raises:
            ValueError: the URL cannot be used, or the certificate authorities that the environment
                names cannot be read.
        """
        self._base_url = _check_base_url(base_url)
        self._credentials = credentials
        self._on_request = on_request
        self._timeouts = timeouts or Timeouts()
        self._monotonic = monotonic
        self._now = now
        # Two more than the streams: for a list and a single workflow at the same time.
        self._adapter = Adapter(make_tls_context(), max_streams + 2, bind)
        self._watchdog = Watchdog()
        self._lock = threading.Lock()
        self._calls: set[Call] = set()
        self._closed = False
        self._told_time: tuple[float, float] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def list_workflows(
        self,
        *,
        page: int,
        per_page: int = 100,
        status: str | None = None,
        call: Call | None = None,
    ) -> WorkflowPage:
        """Read one page of the account's workflows, newest first.

        Args:
            page: the page number; some services count from 1, others from 0.
            per_page: from 1 to 100.
            status: return only workflows in this status; None: all.
            call: lets another thread abort this call.

        Raises:
            ServiceError: there was no usable answer.
        """
        if page < 0 or not 1 <= per_page <= 100:
            raise ValueError("pages count from 0 or 1, and hold from 1 to 100 workflows")
        parameters = {"page": str(page), "per_page": str(per_page)}
        if status is not None:
            parameters["status"] = status
        call = call or Call()
        opened = self._open("list", "/v1/workflow", parameters, call)
        service_time = parse_http_date(opened.response.headers.get("Date"))
        return self._read_document(
            "list", opened, call, lambda body: parse_page(body, service_time=service_time)
        )

    def get_workflow(self, workflow_id: str, call: Call | None = None) -> WorkflowDetail:
        """Read one workflow in full.

        Args:
            workflow_id: its UUID.
            call: lets another thread abort this call.

        Raises:
            ServiceError: there was no usable answer.
            ValueError: the id is not a UUID; no request was sent.
        """
        workflow_id = normalize_workflow_id(workflow_id)
        call = call or Call()
        opened = self._open("get", f"/v1/workflow/{workflow_id}", {}, call)
        return self._read_document("get", opened, call, partial(parse_detail, about=workflow_id))

    def list_runners(
        self, *, page: int, per_page: int = 100, call: Call | None = None
    ) -> RunnerPage:
        """Read one page of the account's runners.

        Args:
            page: the page number; some services count from 1, others from 0.
            per_page: from 1 to 100.
            call: lets another thread abort this call.

        Raises:
            ServiceError: there was no usable answer.
        """
        if page < 0 or not 1 <= per_page <= 100:
            raise ValueError("pages count from 0 or 1, and hold from 1 to 100 runners")
        parameters = {"page": str(page), "per_page": str(per_page)}
        call = call or Call()
        opened = self._open("runners", "/v1/runner", parameters, call)
        return self._read_document("runners", opened, call, parse_runners)

    def subscribe(self, workflow_id: str, call: Call | None = None) -> Stream:
        """Open the event stream of one workflow.

        The caller reads it as a `LiveStream`, or closes it.

        Args:
            workflow_id: its UUID.
            call: lets another thread abort this call and the stream.

        Raises:
            ServiceError: there was no usable answer.
            ValueError: the id is not a UUID; no request was sent.
        """
        path = f"/v1/workflow/{normalize_workflow_id(workflow_id)}/subscribe"
        call = call or Call()
        opened = self._open("subscribe", path, {}, call)
        self._note_time(opened)
        self._watchdog.watch(call, self._timeouts.silence)
        return Stream(
            opened.response,
            call,
            silence=self._timeouts.silence,
            gap=self._timeouts.read,
            on_end=lambda: self._discard(call),
        )

    @property
    def base_url(self) -> str:
        """The URL of the service, without user, password or query."""
        return self._base_url

    def service_wall(self) -> float | None:
        """Seconds since the epoch by the service's clock; None if it never gave the time.

        It is the Date header of its latest usable answer, in whole seconds, plus the time that has
        passed since. Pages of a proxy are not used, because they have the proxy's time.
        """
        told = self._told_time
        if told is None:
            return None
        date, at = told
        return date + self._monotonic() - at

    def close(self) -> None:
        """Abort all calls, close all streams and connections. Calling it again does nothing.

        Calls that are made later end as aborted.
        """
        with self._lock:
            self._closed = True
            calls = list(self._calls)
        for call in calls:
            call.abort()
        self._watchdog.stop()
        self._adapter.close()

    def _open(
        self, endpoint: Endpoint, path: str, parameters: Mapping[str, str], call: Call
    ) -> _Opened:
        """Send a request; return the answer with its body unread, if it is usable.

        The call is still running then: the caller must end it with ``_abandon``.
        """
        request = self._prepare(endpoint, path, parameters, call.target)
        with self._lock:
            if self._closed or call.aborted:
                raise AbortedError(f"{endpoint}: aborted before it was asked")
            self._calls.add(call)
        call.begin()
        try:
            response, answered = self._send(endpoint, request, call)
        except BaseException:
            call.finish()
            self._discard(call)
            raise
        failure = judge(endpoint, response, self._now, lambda: self._read_start(response, call))
        if failure is not None:
            self._abandon(response, call)
            if call.aborted:
                raise AbortedError(f"{endpoint}: aborted", code=failure.code)
            # With Retry-After, it is not to be followed at once.
            if (
                isinstance(failure, RedirectedError)
                and response.status_code in FOLLOWED
                and failure.retry_after is None
            ):
                failure.target = redirect_target(
                    request.url or "",
                    response.headers.get("Location"),
                    resource=path.removeprefix(_VERSION),
                    parameters=parameters,
                )
            raise failure
        return _Opened(response, answered)

    def _note_time(self, opened: _Opened) -> None:
        date = parse_http_date(opened.response.headers.get("Date"))
        if date is not None:
            self._told_time = date, opened.at

    def _prepare(
        self,
        endpoint: Endpoint,
        path: str,
        parameters: Mapping[str, str],
        target: str | None,
    ) -> requests.PreparedRequest:
        token = self._credentials()
        if _TOKEN.fullmatch(token) is None:
            raise UnauthorizedError(f"{endpoint}: the token is empty, or not fit for a header")
        accepts = "text/event-stream" if endpoint == "subscribe" else "application/json"
        headers = {
            "User-Agent": USER_AGENT,
            "Accept-Encoding": "identity",
            "Accept": accepts,
            "Connection": "keep-alive",
        }
        if endpoint == "subscribe":
            headers["Cache-Control"] = "no-store"
        headers["Authorization"] = f"Bearer {token}"
        # No session prepares it: that would replace the token by an entry of netrc, and merge
        # settings that this client does not have.
        if target is not None:  # it has these parameters
            return requests.Request("GET", target, headers=headers).prepare()
        request = requests.Request("GET", self._base_url + path, params=parameters, headers=headers)
        return request.prepare()

    def _send(
        self, endpoint: Endpoint, request: requests.PreparedRequest, call: Call
    ) -> tuple[requests.Response, float]:
        """Send a request, wait for its headers, and report it; also return when they arrived."""
        code = "error"
        begin = self._monotonic()
        self._watchdog.watch(call, self._timeouts.headers)
        try:
            answer = self._exchange(request, call)
            if not isinstance(answer, Failure):
                code = str(answer.status_code)
        finally:
            end = self._monotonic()
            self._on_request(RequestRecord(endpoint, code, end - begin))
        if isinstance(answer, Failure):
            self._fail(endpoint, call, answer, code)
        return answer, end

    def _exchange(
        self, request: requests.PreparedRequest, call: Call
    ) -> requests.Response | Failure:
        # This uses the adapter directly: a session would read the whole body of a redirect, however
        # long, even if it must not follow it.
        proxies = get_environ_proxies(request.url or "")
        try:
            with self._adapter.working_for(call):
                response = self._adapter.send(
                    request,
                    stream=True,
                    timeout=(self._timeouts.connect, self._timeouts.read),
                    proxies=proxies,
                )
        except CALL_ERRORS as error:
            # The error is described here and raised elsewhere, so that our exceptions never have a
            # library's exception as cause or context: those contain headers, URLs and connections.
            return describe_failure(error)
        if call.aborted or call.expired:
            # The library accepts headers as complete if the connection ends, even within a line.
            call.finish()
            response.close()
            return _OVERDUE
        return response

    def _fail(self, endpoint: Endpoint, call: Call, failure: Failure, code: str) -> NoReturn:
        """Raise the error of a call that was aborted by us or broken by the network."""
        if call.aborted:
            raise AbortedError(f"{endpoint}: aborted", code=code)
        if call.expired:
            failure = _OVERDUE
        raise UnreachableError(f"{endpoint}: {failure.text}", reason=failure.reason, code=code)

    def _read_document(
        self,
        endpoint: Endpoint,
        opened: _Opened,
        call: Call,
        parse: Callable[[bytes], _Document],
    ) -> _Document:
        response = opened.response
        try:
            body = self._read_body(endpoint, response, call)
        finally:
            self._abandon(response, call)
        code = str(response.status_code)
        try:
            document = parse(body)
        except MalformedDocumentError as error:
            failure = UnusableError(f"{endpoint}: {error}", code=code)
        else:
            self._note_time(opened)
            return document
        if is_page(response):
            failure = another_type(endpoint, code)
        failure.retry_after = retry_after(response, self._now)
        raise failure

    def _read_body(self, endpoint: Endpoint, response: requests.Response, call: Call) -> bytes:
        self._watchdog.watch(call, self._timeouts.body)
        body = bytearray()
        code = str(response.status_code)
        while True:
            chunk = _read_chunk(response)
            # A socket that was shut down looks like a clean end.
            if call.aborted or call.expired:
                chunk = _OVERDUE
            if isinstance(chunk, Failure):
                self._fail(endpoint, call, chunk, code=code)
            if not chunk:
                return bytes(body)
            body += chunk
            if len(body) > MAX_BODY_SIZE:
                raise TooLargeError(
                    f"{endpoint}: the body is too long",
                    code=code,
                    retry_after=retry_after(response, self._now),
                )

    def _read_start(self, response: requests.Response, call: Call) -> bytes:
        """Read the beginning of a refusal's body: as much as arrives in time."""
        self._watchdog.watch(call, min(_REFUSAL_SECONDS, self._timeouts.body))
        start = bytearray()
        while len(start) < MAX_REFUSAL_SIZE:
            chunk = _read_chunk(response, MAX_REFUSAL_SIZE)
            if isinstance(chunk, Failure) or not chunk:
                break
            start += chunk
        return bytes(start[:MAX_REFUSAL_SIZE])

    def _abandon(self, response: requests.Response, call: Call) -> None:
        call.finish()
        response.close()
        self._discard(call)

    def _discard(self, call: Call) -> None:
        with self._lock:
            self._calls.discard(call)


def _read_chunk(response: requests.Response, size: int = _READ_SIZE) -> bytes | Failure:
    """Read what has arrived of a body; empty bytes mean its end."""
    try:
        # Only a bounded part is decompressed at a time, never everything that was sent.
        chunk: bytes = response.raw.read1(size, decode_content=True)
    except CALL_ERRORS as error:
        return describe_failure(error)
    return chunk


def _check_base_url(base_url: str) -> str:
    """Return a base URL without its trailing slash.

    Raises:
        ValueError: it is not a base URL. The message does not quote it, because it may contain a
            password.
    """
    parts = urlsplit(base_url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("the base URL has to begin with https:// or http:// and a host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("the base URL must not hold a user or a password")
    if parts.query or parts.fragment:
        raise ValueError("the base URL must not have a query or a fragment")
    try:
        requests.Request("GET", base_url).prepare()
    except requests.RequestException:
        is_usable = False
    else:
        is_usable = True
    if not is_usable:
        raise ValueError("the base URL is no URL")
    return base_url.rstrip("/")
