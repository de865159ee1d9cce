"""The web configuration of one's other exporters is taken, or the difference is documented."""

import ssl
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.web.security import Security, go_names, go_values
from exporter.web.security.loading import check, read
from tests.unit.web.toolkit import REAL, Configuration, ours_takes, recorded, toolkit_takes, write

SECURITY = Path(__file__).parents[3] / "docs" / "security.md"

TABLE = recorded()

HASH = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi"

with_the_real_one = pytest.mark.skipif(REAL is None, reason="NODE_EXPORTER names no program")


@pytest.fixture(params=TABLE, ids=lambda configuration: configuration.name)
def configuration(request: pytest.FixtureRequest) -> Configuration:
    assert isinstance(request.param, Configuration)
    return request.param


def test_ours_says_what_the_toolkit_says(configuration: Configuration, certificates: Path) -> None:
    file = write(configuration.text, certificates)
    _, said = check(file)
    assert ours_takes(file) == configuration.ours, said


@with_the_real_one
def test_the_toolkit_says_what_is_recorded(certificates: Path) -> None:
    assert REAL is not None
    verdicts = {c.name: toolkit_takes(REAL, write(c.text, certificates)) for c in TABLE}
    assert verdicts == {c.name: c.toolkit for c in TABLE}


def test_every_difference_is_documented_and_no_other() -> None:
    described = SECURITY.read_text("utf-8").split("## Differences from the toolkit")[1]
    lines = described.split("\n## ")[0].splitlines()
    rows = [line.split(" | ")[0].removeprefix("| ") for line in lines if line.startswith("| ")]
    reasons = {configuration.why for configuration in TABLE if configuration.why}
    assert sorted(rows) == sorted({"configuration", "---", *reasons})


class TestMeaning:
    """What is taken means what it means to the toolkit."""

    @pytest.fixture
    def said(self, certificates: Path, request: pytest.FixtureRequest) -> Security:
        reading = read(write(request.param, certificates))
        assert reading.security is not None
        return reading.security

    @pytest.mark.parametrize(
        ("said", "headers"),
        [
            ("http_server_config: {headers: {X-XSS-Protection: 1}}", {"X-XSS-Protection": "1"}),
            (
                "http_server_config: {headers: {X-XSS-Protection: 0x01}}",
                {"X-XSS-Protection": "0x01"},
            ),
            ("http_server_config: {headers: {X-XSS-Protection: off}}", {"X-XSS-Protection": "off"}),
            ("http_server_config: {headers: {X-XSS-Protection: }}", {"X-XSS-Protection": ""}),
            ("http_server_config: {headers: }", {}),
            (
                (
                    "http_server_config:\n  headers:\n    Content-Security-Policy: |\n"
                    "      default-src 'self';\n      img-src *\n"
                ),
                {"Content-Security-Policy": "default-src 'self'; img-src *"},
            ),
            (
                'http_server_config: {headers: {X-XSS-Protection: "1\\r\\nSet-Cookie: a=b"}}',
                {"X-XSS-Protection": "1  Set-Cookie: a=b"},
            ),
        ],
        indirect=["said"],
    )
    def test_headers(self, said: Security, headers: dict[str, str]) -> None:
        assert said.headers == headers

    @pytest.mark.parametrize(
        ("said", "interval", "size", "warned"),
        [
            ("rate_limit: {interval: 1.5s, burst: 20}", 1.5, 20, []),
            ("rate_limit: {interval: 1h0.5m, burst: 0x10}", 3630, 16, []),
            ("rate_limit: {interval: 1_000_000_000, burst: 1e3}", 1, 1000, []),
            ("rate_limit: {interval: 1, burst: 20}", 1e-9, 20, ["rate_limit.interval"]),
            ("rate_limit: {interval: 0, burst: 0}", 0, 1, []),
            ("rate_limit: {interval: 1s, burst: 0}", 1, 1, ["rate_limit.burst"]),
            ("rate_limit: {interval: 1s}", 1, 1, []),
            ("rate_limit: {interval: , burst: }", 0, 1, []),
            ("rate_limit:", 0, 1, []),
        ],
        indirect=["said"],
    )
    def test_rate_limit(
        self, said: Security, interval: float, size: int, warned: Sequence[str]
    ) -> None:
        assert (said.rate_limit.interval, said.rate_limit.size) == (interval, size)
        assert [warning.key for warning in said.warnings] == warned

    @pytest.mark.parametrize(
        ("said", "names"),
        [
            (f"basic_auth_users: {{1001: {HASH}, 007: {HASH}}}", {b"1001", b"007"}),
            (f"basic_auth_users: {{on: {HASH}, 0x1f: {HASH}}}", {b"on", b"0x1f"}),
            (f"basic_auth_users: {{~: {HASH}}}", {b""}),
        ],
        indirect=["said"],
    )
    def test_names(self, said: Security, names: set[bytes]) -> None:
        assert set(said.users.hashes) == names

    @pytest.mark.parametrize(
        ("curves", "offered"),
        [
            ("[X25519, CurveP256]", "CurveP256"),
            ("[CurveP521, X25519]", "CurveP521"),
        ],
    )
    def test_of_several_curves_one_is_offered(
        self, certificates: Path, curves: str, offered: str
    ) -> None:
        pair = "cert_file: server.crt, key_file: server.key"
        text = f"tls_server_config: {{{pair}, curve_preferences: {curves}}}"
        reading = read(write(text, certificates))
        assert reading.security is not None
        (warning,) = reading.security.warnings
        assert warning.hint == f"`{offered}` is offered."
        assert reading.security.tls is not None
        server = reading.security.tls.context
        assert _agree(server, go_names.CURVES[offered])
        for other in go_names.CURVES.keys() - {offered}:
            assert not _agree(server, go_names.CURVES[other])


def _agree(server: ssl.SSLContext, curve: str) -> bool:
    """Whether a client that knows this curve alone comes through the handshake."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    # The signature's curve is P-256, which up to TLS 1.2 the client would have to know as well.
    client.minimum_version = ssl.TLSVersion.TLSv1_3
    client.set_ecdh_curve(curve)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for end in (*ends, *ends):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLError:
            return False
    return ends[1].version() == "TLSv1.3" and ends[1].cipher() is not None


# What is drawn holds nothing of which the documentation says that the two differ.
durations = st.lists(
    st.tuples(
        st.from_regex(r"[0-9]{1,4}|[0-9]{0,3}\.[0-9]{1,3}", fullmatch=True),
        st.sampled_from(["ns", "us", "\N{MICRO SIGN}s", "ms", "s", "m", "h", "d", "", "S"]),
    ).map("".join),
    min_size=1,
    max_size=3,
).map("".join)
numbers = st.one_of(
    durations,
    st.text("0123456789.+_xobe", min_size=1, max_size=6),
    st.sampled_from(["", "~", "true", "1:30", "2001-12-14", "[1]", "{a: 1}", ".nan"]),
)
quoted = st.tuples(st.booleans(), numbers).map(lambda t: f'"{t[1]}"' if t[0] else t[1])
words = st.from_regex(r"[ab019][abyN019_.-]{0,3}|[yYnN]|on|No|u\.1", fullmatch=True)
switches = st.sampled_from(
    ["true", "false", "yes", "No", "ON", "off", "y", "N", "", "~", "1", "0", "tRue", '"true"', "[]"]
)
hashes = st.sampled_from([HASH, HASH.replace("2y", "2b"), HASH[:-2], "1", "~", '""', "[]", "on"])
headers = st.dictionaries(
    st.sampled_from(["X-XSS-Protection", "Strict-Transport-Security", "x-xss-protection"]),
    st.one_of(numbers, words, switches).filter(str.isascii),
)


def _flow(pairs: dict[str, str]) -> str:
    return "{" + ", ".join(f"{key}: {value}" for key, value in pairs.items()) + "}"


tls = st.fixed_dictionaries(
    {
        "cert_file": st.sampled_from(
            ["server.crt", '"server.crt"', "weak.key", "12", "[server.crt]"]
        )
    },
    optional={
        "key_file": st.sampled_from(["server.key", "other.key", "broken.key", '""', "~", ""]),
        "cert": st.sampled_from(['""', "~", ""]),
        "client_auth_type": st.sampled_from(["NoClientCert", '""', "~", "", "1", "no", "[]"]),
        "client_ca_file": st.sampled_from(["ca.crt", '""', "~"]),
        "min_version": st.sampled_from(["TLS12", "TLS13", "~", "", "tls12", "12", "[TLS12]"]),
        "cipher_suites": st.sampled_from(["[]", "~", "[TLS_AES_128_GCM_SHA256]", "[RC4]", "[1]"]),
        "curve_preferences": st.sampled_from(
            ["[]", "~", "[X25519]", "[CurveP256, X25519]", "[P256]"]
        ),
        "prefer_server_cipher_suites": switches,
    },
).filter(lambda pairs: pairs.get("cipher_suites") != "[TLS_AES_128_GCM_SHA256]")
configurations = st.fixed_dictionaries(
    {},
    optional={
        "tls_server_config": tls.map(_flow),
        "http_server_config": st.fixed_dictionaries(
            {}, optional={"http2": switches, "headers": headers.map(_flow)}
        ).map(_flow),
        "basic_auth_users": st.dictionaries(words, hashes, max_size=2).map(_flow),
        "rate_limit": st.fixed_dictionaries({}, optional={"interval": quoted, "burst": quoted}).map(
            _flow
        ),
    },
)


@with_the_real_one
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(pairs=configurations.filter(bool))
def test_drawn_configurations(certificates: Path, pairs: dict[str, str]) -> None:
    assert REAL is not None
    file = write("".join(f"{key}: {value}\n" for key, value in pairs.items()), certificates)
    _, said = check(file)
    assert ours_takes(file) == toolkit_takes(REAL, file), file.read_text() + said


@given(
    st.lists(
        st.tuples(
            st.integers(0, 10**6),
            st.sampled_from(
                [("ns", 1), ("us", 10**3), ("ms", 10**6), ("s", 10**9), ("m", 60 * 10**9)]
            ),
        ),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from(["", "+", "-"]),
)
def test_a_duration_is_the_sum_of_its_parts(
    parts: list[tuple[int, tuple[str, int]]], sign: str
) -> None:
    text = sign + "".join(f"{number}{unit}" for number, (unit, _) in parts)
    total = sum(number * size for number, (_, size) in parts)
    assert go_values.nanoseconds(text) == (-total if sign == "-" else total)


@given(
    st.integers(0, go_values.MOST),
    st.sampled_from(["{}", "{:#x}", "{:#o}", "0{:o}", "{:#b}", "{:_}"]),
)
def test_a_whole_number_in_any_base(number: int, form: str) -> None:
    assert go_values.whole_number(form.format(number)) == number
    assert go_values.whole_number("-" + form.format(number)) == -number


@given(st.text("0123456789.+-_xobeEsmhnu \N{ARABIC-INDIC DIGIT ONE}", max_size=500))
def test_any_text_is_read(text: str) -> None:
    for value in (go_values.whole_number(text), go_values.nanoseconds(text)):
        assert value is None or abs(value) <= go_values.MOST
