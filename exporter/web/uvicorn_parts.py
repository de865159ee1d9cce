"""What the web server takes from uvicorn, without uvicorn's command line."""

from exporter.spared_imports import standing_in

# The command line loads click and the supervisors of several processes, which take 2 MiB.
with standing_in("uvicorn.main", "Server", "main", "run"):
    from uvicorn.config import Config
    from uvicorn.protocols.http.h11_impl import H11Protocol
    from uvicorn.server import Server

__all__ = ["Config", "H11Protocol", "Server"]
