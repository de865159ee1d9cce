"""What a good file says, and when it is read again."""

import logging
import os
import shutil
import ssl
from pathlib import Path

import pytest

from exporter.web.security import UNSECURED, Security
from exporter.web.security.loading import check, read
from exporter.web.security.watching import WatchedSecurity

HASH = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi"
CHEAP = "$2b$04$TEtCTKgxWOCtIMPFhcljUe3TZ01C0zYFzZANaX5WihUm7uA10csLC"

PAIR = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n"


@pytest.fixture
def folder(certificates: Path, tmp_path: Path) -> Path:
    """The certificates, for this test to change."""
    return Path(shutil.copytree(certificates, tmp_path / "etc"))


def good(folder: Path, text: str) -> Security:
    file = folder / "web.yml"
    file.write_text(text)
    reading = read(file)
    assert not reading.errors
    assert reading.security is not None
    return reading.security


def context_of(folder: Path, more: str = "") -> ssl.SSLContext:
    tls = good(folder, PAIR + more).tls
    assert tls is not None
    return tls.context


def suites(context: ssl.SSLContext) -> list[str]:
    """Those of TLS 1.2."""
    return [c["name"] for c in context.get_ciphers() if not c["name"].startswith("TLS_")]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{}", "plain HTTP, no passwords"),
        ("tls_server_config: {}", "plain HTTP, no passwords"),
        (f"basic_auth_users: {{alice: {HASH}}}", "plain HTTP, 1 user"),
        (PAIR, "TLS, no passwords"),
        (
            (
                f"{PAIR}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n"
                f"basic_auth_users: {{alice: {HASH}, bob: {HASH}}}\n"
                "rate_limit: {interval: 1s, burst: 20}\n"
            ),
            "TLS with client certificates, 2 users, a rate limit",
        ),
    ],
)
def test_in_a_few_words(folder: Path, text: str, says: str) -> None:
    assert str(good(folder, text)) == says


def test_a_sample_with_everything(folder: Path) -> None:
    security = good(
        folder,
        f"""
tls_server_config:
  cert_file: server.crt
  key_file: {folder}/server.key
  client_auth_type: VerifyClientCertIfGiven
  client_ca_file: ca.crt
  min_version: TLS12
  max_version: TLS13
  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384]
  prefer_server_cipher_suites: false
  curve_preferences: [CurveP256]
http_server_config:
  http2: false
  headers:
    Content-Security-Policy: default-src 'self'
    X-Frame-Options: sameorigin
    X-Content-Type-Options: nosniff
    X-XSS-Protection: "0"
    Strict-Transport-Security: max-age=31536000
basic_auth_users:
  alice: {HASH}
rate_limit:
  interval: 0
  burst: 20
""",
    )
    assert security.warnings == ()
    assert security.headers["X-Frame-Options"] == "sameorigin"
    assert security.users.hashes == {b"alice": HASH.encode()}
    assert security.rate_limit.interval == 0
    assert security.tls is not None
    assert security.tls.context.verify_mode == ssl.CERT_OPTIONAL


def test_certificates_within_the_file(folder: Path) -> None:
    def indented(name: str) -> str:
        return (folder / name).read_text().replace("\n", "\n    ")

    security = good(
        folder,
        f"tls_server_config:\n  cert: |\n    {indented('server.crt')}\n"
        f"  key: |\n    {indented('server.key')}\n"
        f"  client_ca: |\n    {indented('ca.crt')}\n"
        "  client_auth_type: RequireAndVerifyClientCert\n",
    )
    assert security.tls is not None
    assert security.tls.context.verify_mode == ssl.CERT_REQUIRED
    assert len(security.tls.context.get_ca_certs()) == 1


def test_one_file_for_certificate_and_key(folder: Path) -> None:
    both = (folder / "server.key").read_text() + (folder / "server.crt").read_text()
    (folder / "both.pem").write_text("Issued for Ü\n" + both)
    good(folder, "tls_server_config: {cert_file: both.pem, key_file: both.pem}")


def test_usual_versions_and_suites(folder: Path) -> None:
    context = context_of(folder)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.maximum_version == ssl.TLSVersion.TLSv1_3
    assert context.options & ssl.OP_CIPHER_SERVER_PREFERENCE
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert suites(context)
    assert all("GCM" in name or "CHACHA20" in name for name in suites(context))
    assert all(name.startswith("ECDHE-") for name in suites(context))


def test_suites_in_the_order_given(folder: Path) -> None:
    context = context_of(
        folder,
        "  cipher_suites: [TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,"
        " TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA]\n  prefer_server_cipher_suites: false\n",
    )
    assert suites(context) == ["ECDHE-RSA-CHACHA20-POLY1305", "ECDHE-RSA-AES128-SHA"]
    assert not context.options & ssl.OP_CIPHER_SERVER_PREFERENCE


def test_suites_of_tls_13_alone_leave_nothing_to_tls_12(folder: Path) -> None:
    context = context_of(folder, "  cipher_suites: [TLS_AES_128_GCM_SHA256]\n")
    assert context.minimum_version == ssl.TLSVersion.TLSv1_3


def test_warnings(folder: Path) -> None:
    security = good(
        folder, f"http_server_config: {{http2: true}}\nbasic_auth_users: {{alice: {CHEAP}}}\n"
    )
    assert [warning.key for warning in security.warnings] == [
        "basic_auth_users",
        "basic_auth_users.alice",
        "http_server_config.http2",
    ]
    assert [
        warning.key
        for warning in good(
            folder,
            f"""{PAIR}
  cipher_suites: [TLS_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]
""",
        ).warnings
    ] == ["tls_server_config.cipher_suites"]
    code, text = check(folder / "web.yml")
    assert code == 0
    assert text.splitlines() == [
        f"{folder / 'web.yml'}: valid: TLS, no passwords",
        (
            "  warning: tls_server_config.cipher_suites names suites of TLS 1.3, which cannot be "
            "chosen. They are all on while TLS 1.3 is."
        ),
    ]


def test_neither_hashes_nor_keys_are_printed(folder: Path) -> None:
    security = good(folder, f"{PAIR}basic_auth_users: {{alice: {HASH}}}\n")
    printed = f"{security} {security!r} {security.users!r}"
    assert HASH not in printed
    assert "PRIVATE KEY" not in printed


def test_nothing_is_secured_without_a_file() -> None:
    assert str(UNSECURED) == "plain HTTP, no passwords"


class TestReading:
    """When the files are read again, one look after the other."""

    @pytest.fixture
    def watched(self, folder: Path) -> WatchedSecurity:
        (folder / "web.yml").write_text(f"{PAIR}basic_auth_users: {{alice: {HASH}}}\n")
        return WatchedSecurity(folder / "web.yml")

    def test_nothing_is_read_again_while_nothing_changes(self, watched: WatchedSecurity) -> None:
        before = watched.current()
        watched.check()
        watched.check()
        assert watched.current() is before

    @pytest.mark.parametrize("name", ["web.yml", "server.crt", "server.key"])
    def test_a_change_counts_once_it_has_settled(
        self, watched: WatchedSecurity, folder: Path, name: str
    ) -> None:
        before = watched.current()
        with (folder / name).open("a") as file:
            file.write("\n")
        watched.check()
        assert watched.current() is before
        watched.check()
        assert watched.current() is not before
        assert watched.last_reload_successful

    def test_a_file_that_goes_on_changing_is_waited_for(
        self, watched: WatchedSecurity, folder: Path
    ) -> None:
        before = watched.current()
        for size in range(5):
            (folder / "web.yml").write_text("#" * size)
            watched.check()
        assert watched.current() is before
        assert watched.last_reload_successful

    def test_a_copy_with_an_old_time_is_a_change(
        self, watched: WatchedSecurity, folder: Path
    ) -> None:
        file = folder / "web.yml"
        status = file.stat()
        file.write_text(file.read_text().replace("alice", "carol"))
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert file.stat().st_size == status.st_size
        watched.check()
        watched.check()
        assert set(watched.current().users.hashes) == {b"carol"}

    def test_a_secret_mounted_through_links_is_a_change(self, folder: Path) -> None:
        """As Kubernetes does it: a link to a folder is exchanged."""
        for generation, user in (("one", "alice"), ("two", "carol")):
            (folder / generation).mkdir()
            (folder / generation / "web.yml").write_text(f"basic_auth_users: {{{user}: {HASH}}}")
        (folder / "data").symlink_to("one")
        (folder / "web.yml").symlink_to("data/web.yml")
        watched = WatchedSecurity(folder / "web.yml")
        (folder / "next").symlink_to("two")
        (folder / "next").rename(folder / "data")
        watched.check()
        watched.check()
        assert set(watched.current().users.hashes) == {b"carol"}

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("", "is empty"),
            ("basic_auth_users:\n", "has no value"),
            ("{}", "was added or taken out"),
            ("basic_auth_users: {alice: PlantedSecret}", "is not a bcrypt hash"),
        ],
    )
    def test_a_bad_file_keeps_the_old_and_is_told_once(
        self,
        watched: WatchedSecurity,
        folder: Path,
        caplog: pytest.LogCaptureFixture,
        text: str,
        reason: str,
    ) -> None:
        before = watched.current()
        (folder / "web.yml").write_text(text)
        for _ in range(4):
            watched.check()
        assert watched.current() is before
        assert not watched.last_reload_successful
        errors = [record.__dict__.get("error", "") for record in caplog.records]
        assert [reason in fault for fault in errors].count(True) == 1
        assert "Planted" not in str([record.__dict__ for record in caplog.records])

    def test_a_key_that_comes_late_is_taken(
        self, watched: WatchedSecurity, folder: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        before = watched.current()
        (folder / "server.key").rename(folder / "away.key")
        watched.check()
        watched.check()
        assert watched.current() is before
        successful = [watched.last_reload_successful]
        (folder / "away.key").rename(folder / "server.key")
        watched.check()
        watched.check()
        assert watched.current() is not before
        successful.append(watched.last_reload_successful)
        assert successful == [False, True]
        assert caplog.records[-1].message == "web configuration reloaded"

    def test_a_reload_on_request_tells_the_faults(
        self, watched: WatchedSecurity, folder: Path
    ) -> None:
        assert watched.reload() == ()
        (folder / "web.yml").write_text("[")
        (fault,) = watched.reload()
        assert "is not YAML" in fault.reason
