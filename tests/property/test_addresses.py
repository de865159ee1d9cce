"""However a host is spelt, its address is the same."""

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from exporter.config.accounts import Account
from exporter.config.addresses import address_of


def checked(base_url: str) -> str:
    """As the configuration hands it on."""
    account = Account.model_validate(
        {"name": "studio", "token": "x", "base_url": base_url, "listing": {}}
    )
    return account.base_url


def address(base_url: str) -> str:
    return address_of(checked(base_url))


labels = st.from_regex(r"[a-z]([a-z0-9-]{0,6}[a-z0-9])?", fullmatch=True)
names = st.lists(labels, min_size=1, max_size=3).map(".".join)
v4 = st.one_of(
    st.ip_addresses(v=4),
    st.ip_addresses(v=4, network="127.0.0.0/8"),
)
v6 = st.one_of(st.ip_addresses(v=6), st.ip_addresses(v=6, network="::/120"))
ports = st.one_of(st.sampled_from([80, 443, 8080]), st.integers(1, 65535))


@st.composite
def part_of_v4(draw: st.DrawFn, number: int) -> str:
    """One part, as decimal, octal or hexadecimal."""
    zeros = "0" * draw(st.integers(0, 3))
    return draw(st.sampled_from([f"{number}", f"0{zeros}{number:o}", f"0x{zeros}{number:x}"]))


@st.composite
def spellings_of_v4(draw: st.DrawFn, ip: ipaddress.IPv4Address) -> str:
    """As the resolver takes it: up to four parts, of which the last fills what is left."""
    count = draw(st.integers(1, 4))
    packed = ip.packed
    parts = [*packed[: count - 1], int.from_bytes(packed[count - 1 :], "big")]
    if draw(st.booleans()):
        return f"[::ffff:{ip}]"
    return ".".join(draw(part_of_v4(part)) for part in parts)


@st.composite
def spellings_of_v6(draw: st.DrawFn, ip: ipaddress.IPv6Address) -> str:
    text = draw(st.sampled_from([ip.compressed, ip.exploded]))
    zone = draw(st.sampled_from(["", "%eth0", "%25eth0"]))
    return f"[{text}{zone}]"


@st.composite
def spellings_of_name(draw: st.DrawFn, name: str) -> str:
    upper = draw(st.lists(st.booleans(), min_size=len(name), max_size=len(name)))
    cased = "".join(c.upper() if up else c for c, up in zip(name, upper, strict=True))
    return cased + draw(st.sampled_from(["", "."]))


@st.composite
def spellings(draw: st.DrawFn, host: object, port: int) -> str:
    """A base URL of this host and port."""
    if isinstance(host, ipaddress.IPv4Address):
        text = draw(spellings_of_v4(host))
    elif isinstance(host, ipaddress.IPv6Address):
        text = draw(spellings_of_v6(host))
    else:
        text = draw(spellings_of_name(str(host)))
    scheme = draw(st.sampled_from(["http", "https", "HTTPS"]))
    default = {"http": 80, "https": 443}[scheme.lower()]
    shown = "" if port == default and draw(st.booleans()) else f":{port}"
    path = draw(st.sampled_from(["", "/", "/v2", "/v2/"]))
    return f"{scheme}://{draw(spellings_of_case(text))}{shown}{path}"


@st.composite
def spellings_of_case(draw: st.DrawFn, text: str) -> str:
    return draw(st.sampled_from([text, text.upper()])) if "%" not in text else text


hosts: st.SearchStrategy[object] = st.one_of(names, v4, v6)


@given(st.data(), hosts, ports)
def test_two_spellings_are_one_address(data: st.DataObject, host: object, port: int) -> None:
    one, other = (address(data.draw(spellings(host, port))) for _ in range(2))
    assert one == other


@given(st.data(), hosts, ports, ports)
def test_another_port_is_another_service(
    data: st.DataObject, host: object, port: int, other: int
) -> None:
    same = port == other or {port, other} == {80, 443}
    one = address(data.draw(spellings(host, port)))
    assert (address(data.draw(spellings(host, other))) == one) is same


@given(st.data(), hosts, hosts, ports)
def test_another_host_is_another_service(
    data: st.DataObject, host: object, other: object, port: int
) -> None:
    def one_of_its_kind(host: object) -> object:
        if isinstance(host, ipaddress.IPv6Address):
            host = host.ipv4_mapped or host
        if isinstance(host, ipaddress.IPv4Address | ipaddress.IPv6Address):
            return "localhost" if host.is_loopback or host.is_unspecified else host
        return "localhost" if f".{host}".endswith(".localhost") else host

    same = one_of_its_kind(host) == one_of_its_kind(other)
    one = address(data.draw(spellings(host, port)))
    assert (address(data.draw(spellings(other, port))) == one) is same


@given(st.data(), hosts, ports)
def test_an_address_is_an_address_of_itself(data: st.DataObject, host: object, port: int) -> None:
    # What the metrics show can be written into a configuration.
    one = address(data.draw(spellings(host, port)))
    assert address(f"http://{one}") == one
