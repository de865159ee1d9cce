"""TLS, passwords, headers and the rate limit of the web side: the content of `--web.config.file`.

    security = WatchedSecurity(Path("web.yml"))     # raises ConfigError with all errors at once

The file has the format of Prometheus' exporter-toolkit.
"""

from exporter.web.security.guard import AuthMiddleware
from exporter.web.security.loading import UNSECURED, Security, check
from exporter.web.security.watching import WatchedSecurity

__all__ = ["UNSECURED", "AuthMiddleware", "Security", "WatchedSecurity", "check"]
