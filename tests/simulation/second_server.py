"""HTTP for the second service: as much of it as one client's GETs need."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulation.scheduler import world

if TYPE_CHECKING:
    from tests.simulation.network import Line
    from tests.simulation.second_service import EventStream, Response, SecondService


class SecondServer:
    """One connection.

    Args:
        service: what is served.
        line: where to.
        client: whose address it comes from.
        chunked: whether a stream goes in chunks; else it ends with the connection.
    """

    def __init__(self, service: SecondService, line: Line, client: str, *, chunked: bool) -> None:
        self._service, self._line, self._client = service, line, client
        self._chunked = chunked
        self._received = b""
        self._stream: EventStream | None = None
        self._is_gone = False

    def received(self, data: bytes) -> None:
        """Something has come."""
        self._received += data
        while not self._is_gone and b"\r\n\r\n" in self._received:
            head, _, self._received = self._received.partition(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")
            method, target, _ = first.split(" ")
            pairs = (line.partition(":") for line in lines)
            headers = {name: value.strip() for name, _, value in pairs}
            here = world()
            answer = self._service.request(here.now, method, target, headers, self._client)
            here.after(answer.latency, lambda a=answer: self._answer(a))  # type: ignore[misc]

    def hung_up(self) -> None:
        """The client is gone."""
        self._is_gone = True
        if self._stream is not None:
            self._stream.close()
        self._line.close()

    def _answer(self, answer: Response) -> None:
        if self._is_gone:
            return
        headers = list(answer.headers)
        if answer.stream is not None:
            headers.append(
                ("Transfer-Encoding", "chunked") if self._chunked else ("Connection", "close")
            )
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers)
        head = f"HTTP/1.1 {answer.status} Said\r\n{fields}\r\n".encode("latin-1")
        self._line.send(head + answer.body)
        if answer.stream is not None:
            self._stream = answer.stream
            self._pump()

    def _pump(self) -> None:
        stream, here = self._stream, world()
        if stream is None or self._is_gone:
            return
        data = stream.take(here.now)
        if data is None:
            self._end(stream)
            return
        if data:
            self._line.send(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)
        due = stream.due()
        if due is not None:
            # What is due now and was not given is the end, which follows by itself.
            here.at(max(due, here.now + 1e-4), self._pump)

    def _end(self, stream: EventStream) -> None:
        self._stream = None
        if stream.was_reset:
            self._line.reset()
        elif self._chunked:
            self._line.send(b"0\r\n\r\n")
        else:
            self._line.close()
