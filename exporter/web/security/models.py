"""The sections of the file, as in the exporter-toolkit."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, ClassVar, Final

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, SecretBytes, SecretStr

from exporter.config.document import Plain
from exporter.config.errors import ErrorEntry, invalid, shown
from exporter.config.section import Broken, Section
from exporter.web.security import go_names, go_values
from exporter.web.security.passwords import MOST_COST, cost_of
from exporter.web.security.pem import Certificates, CertificatesFile, PrivateKey, PrivateKeyFile

_LEAST_COST_IN_USE: Final = 10
"""A stolen hash with a lower cost is soon guessed."""

_HEADERS: Final[Mapping[str, tuple[str, ...]]] = {
    "Content-Security-Policy": (),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-Content-Type-Options": ("nosniff",),
    "X-XSS-Protection": (),
    "Strict-Transport-Security": (),
}
"""Headers that may be set, and their allowed values if only some make sense."""

_HEADER_VALUE: Final = re.compile(r"[\t\x20-\x7e]*")

_SHORT: Final = 0.001
"""Seconds. A shorter interval allows more requests than the exporter can answer."""

NO_VALUE: Final = Plain()
"""Represents a key without a value: the zero value of its type, as in Go."""

_MAKE_A_HASH: Final = (
    "Make a hash with `comfycontrol-exporter hash-password`, which asks for the password."
)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _one_of(name: object, known: Iterable[str], what: str) -> str:
    names = list(known)
    if isinstance(name, str) and name in names:
        return name
    near = difflib.get_close_matches(str(name), names, n=1) if isinstance(name, str) else []
    hint = f"Did you mean `{near[0]}`?" if near else f"Known are {_listed(names)}."
    raise invalid(f"is not {what}", hint)


def _is_missing(value: object) -> bool:
    return isinstance(value, Plain) and not value


def _blank_is_none(value: object) -> object:
    # A filled-in template often contains keys with empty text.
    return None if value == "" else value


def _listed_or_none(value: object) -> object:
    return () if _is_missing(value) else value


def _version(value: object, usual: str) -> str:
    if _is_missing(value):
        return usual
    if value in go_names.REFUSED_VERSIONS:
        raise invalid(
            "is a version that is no longer safe, and OpenSSL does not offer it",
            "Write `TLS12`, or take the key out.",
        )
    return _one_of(value, go_names.VERSIONS, "a version of TLS")


def _client_auth_type(value: object) -> str:
    if value == "":
        return "NoClientCert"
    if value in go_names.UNVERIFIED_CLIENT_AUTH_TYPES:
        raise invalid(
            "would take any certificate without verifying it, which Python cannot and which proves "
            "nothing",
            "Write `RequireAndVerifyClientCert` and name the authority in `client_ca_file`, or "
            "`NoClientCert`.",
        )
    return _one_of(value, go_names.CLIENT_AUTH_TYPES, "a type of client authentication")


def _cipher_suite(value: object) -> str:
    known = (*go_names.CIPHER_SUITES, *go_names.TLS13_CIPHER_SUITES)
    return _one_of(value, known, "a cipher suite that Go counts as secure")


def _curve(value: object) -> str:
    return _one_of(value, go_names.CURVES, "a curve")


def _not_empty(values: tuple[str, ...]) -> tuple[str, ...]:
    if not values:
        raise invalid("is empty", "Write at least one entry, or take the key out.")
    return values


def _boolean(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if _is_missing(value):
        return False
    found = go_values.boolean(value) if isinstance(value, Plain) else None
    if found is None:
        raise invalid("is neither true nor false", "Write `true` or `false`, without quotes.")
    return found


def _interval(value: object) -> float:
    if isinstance(value, float):
        return value
    nanoseconds: int | None = None
    if _is_missing(value):
        nanoseconds = 0
    elif isinstance(value, str):
        nanoseconds = go_values.whole_number(value) if isinstance(value, Plain) else None
        if nanoseconds is None:
            nanoseconds = go_values.nanoseconds(value)
    if nanoseconds is None:
        raise invalid(
            "is not a duration",
            "Write a number with a unit of `ms`, `s`, `m` or `h`, such as `100ms` or `1.5s`.",
        )
    if nanoseconds < 0:
        raise invalid("is below 0", "Write `0` for no rate limit.")
    return nanoseconds / 1_000_000_000


def _burst(value: object) -> int:
    if isinstance(value, int):
        return value
    burst = go_values.whole_number(value) if isinstance(value, Plain) else None
    if _is_missing(value):
        burst = 0
    if burst is None:
        raise invalid("is not a whole number", "Write one from 1 on, without quotes.")
    if burst < 0:
        raise invalid("is below 0", "Write a whole number from 1 on.")
    return burst


def _hash(value: object) -> str:
    if not isinstance(value, str) or (cost := cost_of(value.encode())) is None:
        raise invalid("is not a bcrypt hash", _MAKE_A_HASH)
    if cost > MOST_COST:
        raise invalid(
            f"is a hash of a cost above {MOST_COST}, which takes seconds to check", _MAKE_A_HASH
        )
    return value


def _users(value: object) -> object:
    if not isinstance(value, Mapping):
        raise invalid(
            "is not a mapping of names to hashes", f"Write `name: hash` below it. {_MAKE_A_HASH}"
        )
    return value


def _headers(value: object) -> dict[str, str]:
    if _is_missing(value):
        return {}
    if not isinstance(value, Mapping):
        raise invalid(
            "is not a mapping of names to values",
            "Write keys below it, such as `X-Frame-Options: deny`.",
        )
    return {name: _as_sent(text) for name, text in value.items() if isinstance(text, str)}


def _as_sent(text: str) -> str:
    """Join a value of several lines to one line, as in Go."""
    return text.replace("\r", " ").replace("\n", " ").strip(" \t")


Switch = Annotated[bool, PlainValidator(_boolean)]
"""`true`, `false`, and the other YAML 1.1 words for them."""


class TlsServer(Section):
    """`tls_server_config`. Empty, it leaves TLS off."""

    cert_file: Annotated[CertificatesFile | None, BeforeValidator(_blank_is_none)] = Field(
        default=None, examples=["server.crt"]
    )
    key_file: Annotated[PrivateKeyFile | None, BeforeValidator(_blank_is_none)] = Field(
        default=None, examples=["server.key"]
    )
    cert: Annotated[Certificates | None, BeforeValidator(_blank_is_none)] = Field(
        default=None, examples=["|"]
    )
    key: Annotated[PrivateKey | None, BeforeValidator(_blank_is_none)] = Field(
        default=None, examples=["|"]
    )
    client_auth_type: Annotated[str, PlainValidator(_client_auth_type)] = Field(
        default="NoClientCert", examples=["RequireAndVerifyClientCert"]
    )
    client_ca_file: Annotated[CertificatesFile | None, BeforeValidator(_blank_is_none)] = Field(
        default=None, examples=["ca.crt"]
    )
    client_ca: Annotated[Certificates | None, BeforeValidator(_blank_is_none)] = Field(
        default=None, examples=["|"]
    )
    client_allowed_sans: Annotated[tuple[str, ...], AfterValidator(_not_empty)] | None = Field(
        default=None, examples=[["prometheus.example.org"]]
    )
    min_version: Annotated[str, PlainValidator(lambda value: _version(value, "TLS12"))] = Field(
        default="TLS12", examples=["TLS12"]
    )
    max_version: Annotated[str, PlainValidator(lambda value: _version(value, "TLS13"))] = Field(
        default="TLS13", examples=["TLS13"]
    )
    cipher_suites: Annotated[
        tuple[Annotated[str, PlainValidator(_cipher_suite)], ...], BeforeValidator(_listed_or_none)
    ] = Field(default=(), examples=[["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]])
    curve_preferences: Annotated[
        tuple[Annotated[str, PlainValidator(_curve)], ...], BeforeValidator(_listed_or_none)
    ] = Field(default=(), examples=[["X25519"]])
    prefer_server_cipher_suites: Switch = Field(default=True, examples=["true"])

    @classmethod
    def broken_rules(cls, given: Mapping[str, object]) -> Iterator[Broken]:
        """Keys that go together, and keys that exclude each other."""
        if not given:
            return
        given = {key: value for key, value in given.items() if value != ""}
        for key in ("cert", "key", "client_ca"):
            if key in given and f"{key}_file" in given:
                yield Broken(
                    (key,), invalid(f"is there beside `{key}_file`", "Keep one of the two.")
                )
        for key, file in (("cert", "server.crt"), ("key", "server.key")):
            if key not in given and f"{key}_file" not in given:
                yield Broken(
                    (f"{key}_file",),
                    invalid(
                        "is missing",
                        f"Add `{key}_file: {file}`, or take out `tls_server_config` for plain "
                        "HTTP.",
                    ),
                )
        yield from _broken_client_rules(given)
        lowest, highest = given.get("min_version", "TLS12"), given.get("max_version", "TLS13")
        if (lowest, highest) == ("TLS13", "TLS12"):
            yield Broken(
                ("min_version",), invalid("is above `max_version`", "Raise one or lower the other.")
            )
        suites = given.get("cipher_suites")
        if (
            highest == "TLS12"
            and isinstance(suites, list)
            and suites
            and all(suite in go_names.TLS13_CIPHER_SUITES for suite in suites)
        ):
            yield Broken(
                ("cipher_suites",),
                invalid(
                    "has suites of TLS 1.3 alone, which `max_version` rules out",
                    "Add suites of TLS 1.2, or take out `max_version`.",
                ),
            )

    @property
    def is_on(self) -> bool:
        """Whether there is TLS at all."""
        return bool(self.model_fields_set)

    @property
    def authority(self) -> bytes | None:
        """The certificates of the authorities that sign client certificates."""
        return self.client_ca_file or self.client_ca

    @property
    def certificates(self) -> bytes:
        """The server's certificates."""
        return self.cert_file or self.cert or b""

    @property
    def private_key(self) -> SecretBytes:
        """The private key of the server's certificate."""
        return self.key_file or self.key or SecretBytes(b"")


def _broken_client_rules(given: Mapping[str, object]) -> Iterator[Broken]:
    kind = given.get("client_auth_type", "NoClientCert")
    authority = next((key for key in ("client_ca_file", "client_ca") if key in given), None)
    if authority is not None and kind == "NoClientCert":
        yield Broken(
            (authority,),
            invalid(
                "has no effect without a `client_auth_type` that verifies",
                "Add `client_auth_type: RequireAndVerifyClientCert`.",
            ),
        )
    if authority is None and kind in ("VerifyClientCertIfGiven", "RequireAndVerifyClientCert"):
        yield Broken(
            ("client_auth_type",),
            invalid(
                "needs the authority that signs the certificates of clients",
                "Add `client_ca_file: ca.crt`.",
            ),
        )
    if "client_allowed_sans" in given and kind != "RequireAndVerifyClientCert":
        yield Broken(
            ("client_allowed_sans",),
            invalid(
                "needs clients that must show a certificate",
                "Add `client_auth_type: RequireAndVerifyClientCert`.",
            ),
        )


class HttpServer(Section):
    """`http_server_config`."""

    http2: Switch = Field(default=False, examples=["false"])
    headers: Annotated[dict[str, str], PlainValidator(_headers)] = Field(
        default_factory=dict, examples=[{"X-Frame-Options": "deny"}]
    )

    @classmethod
    def broken_rules(cls, given: Mapping[str, object]) -> Iterator[Broken]:
        """Only known headers, with values that a header can carry."""
        headers = given.get("headers")
        for name, value in headers.items() if isinstance(headers, Mapping) else ():
            broken = _broken_header(name, value)
            if broken is not None:
                yield Broken(("headers", name), invalid(*broken))


def _broken_header(name: str, value: object) -> tuple[str, str] | None:
    if name not in _HEADERS:
        known = [known for known in _HEADERS if known.lower() == name.lower()]
        near = known or difflib.get_close_matches(name, _HEADERS, n=1)
        if near and shown(name) is not None:
            return "is not a header that can be set", f"Did you mean `{near[0]}`?"
        return "is not a header that can be set", f"Known are {_listed(_HEADERS)}."
    if not isinstance(value, str):
        return "is not text", "Write the value of the header behind its name."
    value = _as_sent(value)
    if not _HEADER_VALUE.fullmatch(value):
        return "has characters that no header carries", "Write it in ASCII."
    allowed = _HEADERS[name]
    if value and allowed and value.lower() not in allowed:
        return "is not a value of this header", f"Write {' or '.join(f'`{v}`' for v in allowed)}."
    return None


class ClientRateLimit(Section):
    """`rate_limit`: a bucket of tokens for all clients together."""

    interval: Annotated[float, PlainValidator(_interval)] = Field(default=0.0, examples=["1s"])
    """Seconds; 0 is no limit."""
    burst: Annotated[int, PlainValidator(_burst)] = Field(default=1, examples=[20])
    """The configured value. A bucket of size 0 would refuse all requests: see `size`."""

    @property
    def size(self) -> int:
        """Tokens in a full bucket."""
        return max(self.burst, 1)


class WebConfig(Section):
    """The content of the file."""

    elsewhere: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(TlsServer.model_fields, "tls_server_config"),
        **dict.fromkeys(HttpServer.model_fields, "http_server_config"),
        **dict.fromkeys(ClientRateLimit.model_fields, "rate_limit"),
    }

    tls_server_config: TlsServer = Field(
        default_factory=TlsServer, examples=[{"cert_file": "server.crt", "key_file": "server.key"}]
    )
    http_server_config: HttpServer = Field(
        default_factory=HttpServer, examples=[{"headers": {"X-Frame-Options": "deny"}}]
    )
    basic_auth_users: Annotated[
        dict[str, Annotated[SecretStr, BeforeValidator(_hash)]], BeforeValidator(_users)
    ] = Field(default_factory=dict)
    rate_limit: ClientRateLimit = Field(
        default_factory=ClientRateLimit, examples=[{"interval": "1s", "burst": 20}]
    )

    @classmethod
    def broken_rules(cls, given: Mapping[str, object]) -> Iterator[Broken]:
        """A user name must not contain a colon.

        A client could never send it, because the password follows the colon.
        """
        users = given.get("basic_auth_users")
        for user in users if isinstance(users, Mapping) else ():
            if ":" in user:
                yield Broken(
                    ("basic_auth_users", user),
                    invalid("has a name with a colon, which no client can send", "Take it out."),
                )

    def warnings(self) -> tuple[ErrorEntry, ...]:
        """Settings that are allowed but probably not intended, or that have no effect."""
        found = []
        tls = self.tls_server_config
        if self.basic_auth_users and not tls.is_on:
            found.append(
                ErrorEntry(
                    "basic_auth_users",
                    "lets passwords travel over the network in clear",
                    "Add `tls_server_config`.",
                )
            )
        found += [
            ErrorEntry(
                f"basic_auth_users.{shown(user) or '(not shown)'}",
                f"is a hash of a cost below {_LEAST_COST_IN_USE}, soon guessed if it is stolen",
                _MAKE_A_HASH,
            )
            for user, hashed in self.basic_auth_users.items()
            if (cost_of(hashed.get_secret_value().encode()) or 0) < _LEAST_COST_IN_USE
        ]
        if self.http_server_config.http2:
            found.append(
                ErrorEntry(
                    "http_server_config.http2",
                    "is ignored",
                    "HTTP/1.1 is spoken, which every Prometheus and browser falls back to.",
                )
            )
        if len(tls.curve_preferences) > 1:
            found.append(
                ErrorEntry(
                    "tls_server_config.curve_preferences",
                    "has several curves, of which Python can offer one",
                    f"`{go_names.offered_curve(tls.curve_preferences)}` is offered.",
                )
            )
        found += self._warnings_of_rate()
        if any(suite in go_names.TLS13_CIPHER_SUITES for suite in tls.cipher_suites):
            found.append(
                ErrorEntry(
                    "tls_server_config.cipher_suites",
                    "names suites of TLS 1.3, which cannot be chosen",
                    "They are all on while TLS 1.3 is.",
                )
            )
        return tuple(found)

    def _warnings_of_rate(self) -> Iterator[ErrorEntry]:
        rate = self.rate_limit
        if not rate.interval:
            return
        if rate.interval < _SHORT:
            yield ErrorEntry(
                "rate_limit.interval",
                "is below a millisecond, which limits nothing",
                "A number without a unit is one of nanoseconds: write `1s` for a second.",
            )
        if rate.burst < 1:
            yield ErrorEntry(
                "rate_limit.burst",
                "is 0, and counts as 1",
                "With 0, nobody would be let in.",
            )
