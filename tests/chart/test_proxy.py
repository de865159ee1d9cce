"""The way out: a proxy's password is in a Secret, and nowhere else."""

import base64
import hashlib
import json
import re
import string
from pathlib import Path
from typing import Final

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.chart.rendering import CHART, HelmError, Object, render, template, the
from tests.chart.test_chart import TOKEN, container, strings
from tests.e2e.programs import program

OWN: Final = "comfycontrol-exporter-proxy"


@pytest.fixture(autouse=True)
def _helm() -> None:
    """Skipped where Helm is missing, and failing where every tier must run."""
    program("helm")


def environment(objects: list[Object]) -> dict[str, Object]:
    """The pod's variables by name, each with where its value comes from."""
    given = container(objects).get("env", [])
    assert len({variable["name"] for variable in given}) == len(given)
    return {variable.pop("name"): variable for variable in given}


def from_secret(name: str, key: str) -> Object:
    return {"valueFrom": {"secretKeyRef": {"name": name, "key": key}}}


def with_proxy(folder: Path, **proxy: object) -> list[Object]:
    values = folder / "values.yaml"
    values.write_text(yaml.safe_dump({"proxy": proxy}), "utf-8")
    return render(values, settings=[TOKEN])


def hidden(objects: list[Object]) -> dict[str, str]:
    """What the chart's own Secret holds."""
    data = the(objects, "Secret", OWN)["data"]
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


def test_a_password_is_nowhere_but_in_a_secret() -> None:
    objects = render(CHART / "ci" / "proxy-values.yaml")
    secret = the(objects, "Secret")
    assert hidden(objects) == {"https": "http://exporter:written-out@proxy.example:3128"}
    rest = [text for o in objects if o is not secret for text in strings(o)]
    assert not any("written-out" in text for text in rest)
    assert not any(encoded in text for text in rest for encoded in secret["data"].values())
    assert environment(objects) == {
        "HTTPS_PROXY": from_secret(OWN, "https"),
        "HTTP_PROXY": from_secret("comfycontrol-proxy", "plain"),
        "NO_PROXY": {"value": ".svc,.cluster.local"},
    }


_TEXT: Final = st.text(string.ascii_letters + string.digits + "%+-._~!*',;=@:", max_size=8)


@given(st.sampled_from(["", "http://", "https://", "socks5h://"]), _TEXT, _TEXT)
@settings(max_examples=15, deadline=None)
def test_whatever_has_a_user_or_a_password_is_hidden(
    tmp_path_factory: pytest.TempPathFactory, scheme: str, user: str, password: str
) -> None:
    address = f"{scheme}{user}:{password}@proxy.example:3128"
    objects = with_proxy(tmp_path_factory.mktemp("drawn"), http=address)
    assert hidden(objects) == {"http": address}
    assert environment(objects) == {"HTTP_PROXY": from_secret(OWN, "http")}


def test_an_address_alone_is_no_secret(tmp_path: Path) -> None:
    objects = with_proxy(tmp_path, https="http://proxy.example:3128", http="proxy.example:3128")
    assert environment(objects) == {
        "HTTPS_PROXY": {"value": "http://proxy.example:3128"},
        "HTTP_PROXY": {"value": "proxy.example:3128"},
    }
    assert not [o for o in objects if o["kind"] == "Secret"]


def test_both_come_from_a_secret_of_the_users(tmp_path: Path) -> None:
    secret = {"name": "mine", "httpKey": "plain"}
    objects = with_proxy(tmp_path, secret=secret)
    assert environment(objects) == {
        "HTTPS_PROXY": from_secret("mine", "https"),
        "HTTP_PROXY": from_secret("mine", "plain"),
    }
    assert not [o for o in objects if o["kind"] == "Secret"]


@pytest.mark.parametrize("userinfo", ["$(PROXY_USER):$(PROXY_PASSWORD)", "me:$(PROXY_PASSWORD)"])
def test_a_variable_of_the_pod_stays_one(userinfo: str, tmp_path: Path) -> None:
    """Kubernetes replaces `$(NAME)` in a value that stands in the pod, and in no Secret."""
    address = f"http://{userinfo}@proxy.example:3128"
    objects = with_proxy(tmp_path, https=address)
    assert environment(objects) == {"HTTPS_PROXY": {"value": address}}


def test_another_password_replaces_the_pod_and_does_not_tell_what_it_is(tmp_path: Path) -> None:
    """A variable is read once, at the start."""

    def annotations(password: str) -> dict[str, str]:
        objects = with_proxy(tmp_path, https=f"http://exporter:{password}@proxy.example:3128")
        template_of_pod = the(objects, "StatefulSet")["spec"]["template"]
        found: dict[str, str] = template_of_pod["metadata"]["annotations"]
        return found

    first, second = annotations("first"), annotations("second")
    assert first == annotations("first")
    assert first != second
    # Anyone who may read the pod cannot try a list of passwords against a plain digest.
    address = "http://exporter:second@proxy.example:3128"
    for text in ("second", address, json.dumps({"https": address}, separators=(",", ":"))):
        digest = hashlib.sha256(text.encode()).hexdigest()
        assert not digest.startswith(second["checksum/proxy"])
    written = template("--values", tmp_path / "values.yaml", "--set", TOKEN)
    assert re.search("checksum/proxy: [0-9a-f]{16}\n", written)


@pytest.mark.parametrize(
    ("proxy", "said"),
    [
        (
            {"https": "http://proxy.example:3128", "secret": {"name": "mine"}},
            "proxy.https is given along with proxy.secret.httpsKey",
        ),
        (
            {"http": "http://me:hush@proxy.example", "secret": {"name": "mine", "httpKey": "a"}},
            "proxy.http is given along with proxy.secret.httpKey",
        ),
        ({"secret": {"name": "mine", "httpsKey": ""}}, "proxy.secret names no key"),
        ({"secret": {"name": "Not a name"}}, "at '/proxy/secret/name'"),
        ({"secret": {"name": "mine", "httpsKey": "a b"}}, "at '/proxy/secret/httpsKey'"),
        (
            {"https": "http://me:hush$(MORE)@proxy.example:3128"},
            "proxy.https has a variable within a password",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_is_refused_and_not_repeated(
    proxy: dict[str, object], said: str, tmp_path: Path
) -> None:
    with pytest.raises(HelmError) as error:
        with_proxy(tmp_path, **proxy)
    assert said in str(error.value)
    assert "hush" not in str(error.value)
