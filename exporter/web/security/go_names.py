"""Go's names for TLS versions, ciphers and curves, as in the exporter-toolkit, and OpenSSL's."""

import ssl
from collections.abc import Sequence
from typing import Final

VERSIONS: Final = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}

REFUSED_VERSIONS: Final = ("TLS10", "TLS11")
"""Versions that Go knows, but OpenSSL 3 no longer offers at its default security level."""

CIPHER_SUITES: Final = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
}
"""TLS 1.2 suites that Go considers secure; the toolkit accepts exactly these."""

DEFAULT_CIPHER_SUITES: Final = tuple(
    name for name in CIPHER_SUITES if "GCM" in name or "CHACHA20" in name
)
"""The default suites: those with forward secrecy and authenticated encryption."""

TLS13_CIPHER_SUITES: Final = (
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
)
"""The TLS 1.3 suites. They are always enabled, in Go and here, and cannot be selected."""

CURVES: Final = {
    "X25519": "X25519",
    "CurveP256": "prime256v1",
    "CurveP384": "secp384r1",
    "CurveP521": "secp521r1",
}


def offered_curve(curves: Sequence[str]) -> str:
    """The curve to offer: Python can set only one, and all clients support P-256."""
    return "CurveP256" if "CurveP256" in curves else curves[0]


CLIENT_AUTH_TYPES: Final = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}

UNVERIFIED_CLIENT_AUTH_TYPES: Final = (
    "RequestClientCert",
    "RequireAnyClientCert",
    # The toolkit's former name for the type above.
    "RequireClientCert",
)
"""Types that accept any certificate. OpenSSL needs a callback for that, which Python does not
have."""
