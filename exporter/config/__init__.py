"""The configuration: its models, its secrets, and how it is read.

    config = load(Path("config.yml"), os.environ)     # or from_environment(os.environ)

Both raise `ConfigError`, which lists all errors at once with key, line, reason and hint.
"""

from exporter.config.errors import ConfigError, ErrorEntry
from exporter.config.loading import check, from_environment, in_postgres, load
from exporter.config.models import Account, Config, Listing, Metrics, Push, RateLimit, Runners
from exporter.config.slices import Slice
from exporter.config.tokens import TokenSource, TokenUnreadableError
from exporter.config.workflow_ids import parse_workflow_id, parse_workflow_ids

__all__ = [
    "Account",
    "Config",
    "ConfigError",
    "ErrorEntry",
    "Listing",
    "Metrics",
    "Push",
    "RateLimit",
    "Runners",
    "Slice",
    "TokenSource",
    "TokenUnreadableError",
    "check",
    "from_environment",
    "in_postgres",
    "load",
    "parse_workflow_id",
    "parse_workflow_ids",
]
