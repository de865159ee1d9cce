"""`check-config --online`: whether the service accepts each account's address and token.

For each account, one request for one row of its list is sent with the exporter's own client: with
the same proxy, certificate authorities and token file.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from exporter.budget.sliding_window import Limit
from exporter.comfycontrol import (
    Call,
    Client,
    ForbiddenError,
    RateLimitedError,
    RedirectedError,
    RequestRecord,
    ServerFaultError,
    ServiceError,
    Timeouts,
    UnauthorizedError,
    UnreachableError,
)
from exporter.comfycontrol.redirects import MOST_HOPS
from exporter.config import Account, Config, RateLimit, TokenUnreadableError
from exporter.config.token_shapes import shape_of
from exporter.following.answers import is_of_wrong_address, reason_of
from exporter.plurals import counted


@dataclass(frozen=True, slots=True)
class OnlineCheck:
    """The result for one account.

    Attributes:
        account: the configured name.
        is_right: whether the exporter can follow it as configured.
        text: the result in words, without the token or any text from the network.
    """

    account: str
    is_right: bool
    text: str

    def __str__(self) -> str:
        return f"{self.account}: {'right' if self.is_right else 'wrong'}: {self.text}"


def ask_each(
    config: Config,
    *,
    timeouts: Timeouts | None = None,
    sleep: Callable[[float], object] = time.sleep,
) -> Iterator[OnlineCheck]:
    """Check one account after another, in the order of the file.

    A service limits requests by address, and an exporter may be using its share now. So accounts of
    one address are checked as slowly as the rest of the limit allows. After a refusal because of
    the limit, no more requests are sent to that address.

    Args:
        config: the configuration with the accounts.
        timeouts: the timeouts of requests; None: the defaults.
        sleep: waits for a number of seconds.

    Raises:
        CannotTrust: the authorities that the environment names cannot be read.
    """
    asked: set[str] = set()
    exhausted: set[str] = set()
    for account in config.accounts:
        if account.address in exhausted:
            text = f"not checked, because its address refuses more requests for now. {_LATER}"
            yield OnlineCheck(account.name, is_right=False, text=text)
            continue
        if account.address in asked:
            sleep(_pause(account.rate_limit))
        asked.add(account.address)
        error, total = _ask(
            account, timeouts, config.egress.bind, partial(sleep, _pause(account.rate_limit))
        )
        if isinstance(error, RateLimitedError):
            exhausted.add(account.address)
        if error is None:
            yield OnlineCheck(account.name, is_right=True, text=_taken(account, total))
        else:
            yield _refused(account, error)


def _pause(limit: RateLimit) -> float:
    """Seconds between two requests, so that they fit into the reserve of the limit."""
    share = Limit(limit.requests, limit.per, limit.cooldown, limit.reserve).share
    return limit.per / max(1, limit.requests - share)


def _ask(
    account: Account,
    timeouts: Timeouts | None,
    bind: str | None,
    pause: Callable[[], object],
) -> tuple[ServiceError | TokenUnreadableError | None, int | None]:
    """Send one request; return the error, or how many workflows the list has.

    If the service redirects it within its own origin, the next one is sent after a pause.
    """

    def unheard(_: RequestRecord) -> None:
        """Ignore the record: requests are not counted here."""

    client = partial(Client, account.base_url, account.token.read, max_streams=0)
    with client(on_request=unheard, timeouts=timeouts, bind=bind) as service:
        target: str | None = None
        try:
            for _ in range(MOST_HOPS):
                try:
                    return None, _total(service, target)
                except RedirectedError as error:
                    if error.target is None:
                        raise
                    target = error.target
                pause()
            return None, _total(service, target)
        except (ServiceError, TokenUnreadableError) as error:
            # The traceback is removed, because its frames hold the token.
            return error.with_traceback(None), None


def _total(service: Client, target: str | None) -> int | None:
    return service.list_workflows(page=1, per_page=1, call=Call(target)).total


def _taken(account: Account, total: int | None) -> str:
    text = f"{account.base_url} accepts its token"
    if account.listing is None:
        return f"{text}; its ids are followed without a list"
    if total is None:
        return text
    return f"{text}, and lists {counted(total, 'workflow')}"


def _refused(account: Account, error: ServiceError | TokenUnreadableError) -> OnlineCheck:
    if isinstance(error, TokenUnreadableError):
        # It could be read a moment ago, when the file was checked.
        return OnlineCheck(account.name, is_right=False, text=str(error))
    if isinstance(error, ForbiddenError) and account.listing is None:
        text = (
            f"{account.base_url} answers, but refuses its list ({error.code}), which is not "
            "needed: its ids are followed without it"
        )
        return OnlineCheck(account.name, is_right=True, text=text)
    is_misled = is_of_wrong_address(error)
    reason = "too many requests (429)" if isinstance(error, RateLimitedError) else None
    reason = reason or reason_of(error, is_misled=is_misled)
    text = f"{reason}{'' if is_misled else '.'} {_advice(account, error)}".rstrip()
    return OnlineCheck(account.name, is_right=False, text=f"{text} Asked: {account.base_url}")


_LATER: Final = (
    "Another program uses its limit: try again later, and raise `rate_limit.reserve` if this lasts."
)
_BY_REASON: Final = {
    "dns": "Is the host in `base_url` spelled correctly, and can this machine resolve names?",
    "connect": "Are host and port in `base_url` correct, and may this machine connect to them? "
    "HTTPS_PROXY sets a proxy.",
    "proxy": "HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY set which proxy is used.",
    "tls": "Does that port use TLS? REQUESTS_CA_BUNDLE can name a bundle with other authorities, "
    "such as a company's.",
    "timeout": "May this machine connect to it? HTTPS_PROXY sets a proxy.",
    "broken": "Are scheme and port in `base_url` correct? A firewall may also cut the connection.",
    "protocol": "Are scheme and port in `base_url` correct?",
}


def _advice(  # noqa: PLR0911 - one for each kind
    account: Account, error: ServiceError
) -> str:
    """How to fix it, in full sentences."""
    match error:
        case UnauthorizedError():
            return _about_token(account)
        case ForbiddenError():
            return (
                "Use a token that may read the list, or leave out `listing` and name ids instead."
            )
        case RateLimitedError():
            return _LATER
        case UnreachableError(reason=reason):
            return _BY_REASON.get(reason, "")
        case _ if is_of_wrong_address(error):
            return "Use the service's address without a path: `/v1/workflow` is added to it."
        case ServerFaultError(code=code) if code.startswith("5"):
            return "Address and token may be correct: try again later."
        case ServerFaultError():
            return "Most likely a firewall or a proxy that does not admit this machine."
    return ""


def _about_token(account: Account) -> str:
    try:
        shape = shape_of(account.token.read())
    except TokenUnreadableError as error:
        return str(error)
    if shape is not None:
        return f"The token {shape}."
    return "It is wrong, expired or revoked: copy one from the service's dashboard."
