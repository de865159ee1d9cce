"""TLS, passwords, headers and the rate limit of the web side: the content of `--web.config.file`.

    from exporter.web.security.watching import WatchedSecurity

    security = WatchedSecurity(Path("web.yml"))     # raises ConfigError with all errors at once

The file has the format of Prometheus' exporter-toolkit. This package loads what every exporter
needs. Who reads a file imports `loading` or `watching`.
"""

from exporter.web.security.guard import AuthMiddleware
from exporter.web.security.settings import UNSECURED, Security

__all__ = ["UNSECURED", "AuthMiddleware", "Security"]
