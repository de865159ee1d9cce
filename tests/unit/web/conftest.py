"""Certificates and keys, as a configuration names them."""

from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa


def key_pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, password: bytes = b"") -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption(),
    )


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a pair that is good, and with whatever may be wrong with one."""
    folder = tmp_path_factory.mktemp("certificates")
    make_certificates(folder)
    return folder


def make_certificates(folder: Path) -> None:
    """Fill a folder with them."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.crt")
    server = authority.issue_cert("localhost")
    server.cert_chain_pems[0].write_to_path(folder / "server.crt")
    server.private_key_pem.write_to_path(folder / "server.key")
    authority.issue_cert("localhost").private_key_pem.write_to_path(folder / "other.key")
    (folder / "empty.pem").write_text("")
    body = "QUJDRA==\n"
    (folder / "broken.crt").write_text(
        f"-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n"
    )
    (folder / "broken.key").write_text(
        f"-----BEGIN PRIVATE KEY-----\n{body}-----END PRIVATE KEY-----\n"
    )
    (folder / "encrypted.key").write_bytes(
        key_pem(ec.generate_private_key(ec.SECP256R1()), b"password")
    )
    issued_pem = (folder / "server.crt").read_text()
    (folder / "chain.crt").write_text(issued_pem + (folder / "ca.crt").read_text())
    (folder / "half.crt").write_text(issued_pem + (folder / "broken.crt").read_text())
    (folder / "marked.crt").write_text(f"\ufeff{issued_pem}")
    weak = rsa.generate_private_key(65537, 1024)
    (folder / "weak.key").write_bytes(key_pem(weak))
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    issued = x509.load_pem_x509_certificate((folder / "server.crt").read_bytes())
    (folder / "weak.crt").write_bytes(
        x509.CertificateBuilder(
            name,
            name,
            weak.public_key(),
            1,
            issued.not_valid_before_utc,
            issued.not_valid_after_utc,
        )
        .sign(weak, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
