"""The flags and subcommands, and the valid values of each."""

import argparse
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NoReturn, TextIO
from urllib.parse import urlsplit

from exporter import __version__
from exporter.logs import LEVELS
from exporter.revision import revision
from exporter.web.listening import MOST_CLIENTS, ListenAddress, parse_listen_address

EXIT_BAD_INPUT: Final = 1
"""The exit code for a wrong configuration or flag; nothing was started."""

LISTEN_FLAG: Final = "--web.listen-address"
DEFAULT_LISTEN_ADDRESS: Final = ":10871"
DEFAULT_SIMULATOR_ADDRESS: Final = "127.0.0.1:10872"
DEFAULT_HEALTH_URL: Final = "http://localhost:10871/-/healthy"
HEALTH_URL: Final = "COMFYCONTROL_EXPORTER_HEALTH_URL"
DEFAULT_STATUS_URL: Final = "http://localhost:10871"
STATUS_USER: Final = "COMFYCONTROL_EXPORTER_USER"
STATUS_PASSWORD: Final = "COMFYCONTROL_EXPORTER_PASSWORD"  # noqa: S105 - the variable's name

COLLECTORS: Final = {
    "python": "python_info",
    "process": "process_*",
    "gc": "python_gc_*",
}
"""Series of the process itself, which can be switched off one by one."""

_EXTERNAL_URL: Final = re.compile(r"https?://[\w.:\[\]-]+(/[\w./~%+-]*)?", re.ASCII)

RESERVED_PATHS: Final = ("/-/", "/api/", "/config")
"""The metrics cannot be served below these paths."""


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse and check the command line. An error ends the process with exit code 1."""
    parser = _parser()
    parser.given = argv
    arguments, unknown = parser.parse_known_args(argv)
    if unknown:
        # Reported by the given subcommand, whose usage helps more.
        whose = parser.commands.get(arguments.command, parser)
        whose.refuse_unknown(unknown)
    if arguments.command == "simulate" and len(arguments.listen_address or ()) > 1:
        parser.commands["simulate"].error(
            f"argument {LISTEN_FLAG}: the simulator listens on only one address"
        )
    if arguments.systemd_socket and arguments.listen_address is not None:
        parser.error(
            "argument --web.systemd-socket: not allowed together with --web.listen-address"
        )
    if arguments.watch and arguments.config_file is None:
        parser.error("argument --config.watch: there is no file to watch without --config.file")
    return arguments


class _Parser(argparse.ArgumentParser):
    given: Sequence[str] = ()
    """The arguments as given."""
    commands: "Mapping[str, _Parser]" = MappingProxyType({})
    """The subcommands, by name."""

    def refuse_unknown(self, unknown: Sequence[str]) -> NoReturn:
        """End the process with an error that names the unknown arguments."""
        flag = next((text.partition("=")[0] for text in unknown if text.startswith("-")), None)
        if flag is None:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        self.error(self._unknown_flag(flag))

    def _unknown_flag(self, flag: str) -> str:
        near = get_close_matches(flag, self._option_string_actions, 1)
        return f"unknown flag {flag}" + "".join(f"; did you mean {n}?" for n in near)

    def error(self, message: str) -> NoReturn:
        if message.startswith("argument COMMAND:"):
            # Argparse takes the value of an unknown flag as the command.
            flags = [text.partition("=")[0] for text in self.given if text.startswith("--")]
            for flag in flags:
                if flag not in self._option_string_actions:
                    message = self._unknown_flag(flag)
                    break
        self.print_usage(sys.stderr)
        self.exit(EXIT_BAD_INPUT, f"{self.prog}: {message}\n")


class _Version(argparse.Action):
    """Prints the version on one line; argparse's own would wrap it at the terminal's width."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - argparse's
        super().__init__(**options | {"nargs": 0, "default": argparse.SUPPRESS})

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        version = f"{__version__} (revision {revision()}, Python {platform.python_version()})"
        say(f"{parser.prog} {version}", sys.stdout)
        parser.exit()


def _parser() -> _Parser:
    parser = _Parser(
        prog="comfycontrol-exporter",
        description="Prometheus exporter for workflows hosted on ComfyControl. With "
        "COMFYCONTROL_TOKEN in the environment and no flags it follows the whole account.",
        # No abbreviations: a flag added later must not change the meaning of a command line.
        allow_abbrev=False,
    )
    _add_logging(parser)
    _add_web(parser)
    parser.add_argument(
        "--config.file",
        dest="config_file",
        type=Path,
        metavar="FILE",
        help="configuration; without it, one account from COMFYCONTROL_TOKEN or "
        "COMFYCONTROL_TOKEN_FILE",
    )
    parser.add_argument(
        "--config.watch",
        dest="watch",
        action="store_true",
        help="reload the configuration file whenever it changes, not only on SIGHUP",
    )
    parser.add_argument(
        "--web.enable-lifecycle",
        dest="lifecycle",
        action="store_true",
        help="allow POST /-/reload to reload the configuration, as SIGHUP does",
    )
    _add_storage(parser)
    parser.add_argument(
        "--storage.postgres.dsn-file",
        dest="dsn_file",
        type=Path,
        metavar="FILE",
        help="file with the connection string of a PostgreSQL that holds the ledger instead, for "
        "several replicas",
    )
    for name, series in COLLECTORS.items():
        parser.add_argument(
            f"--collector.{name}",
            dest=f"collector_{name}",
            action=argparse.BooleanOptionalAction,
            default=True,
            help=f"export {series} (default on)",
        )
    parser.add_argument("--version", action=_Version, help="show the version")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)

    commands.add_parser(
        "hash-password",
        help="read a password and print its hash for basic_auth_users of --web.config.file",
    )

    checked = "the file to check; exit code 0: it can be used, 1: it cannot"
    check = commands.add_parser(
        "check-config", help="check a configuration file and show all of its errors"
    )
    check.add_argument("file", type=Path, metavar="FILE", help=checked)
    check.add_argument(
        "--series",
        action="store_true",
        help="also show for each metric how many series it can have at most",
    )
    check.add_argument(
        "--online",
        action="store_true",
        help="also ask the service once for each account, and show whether address and token are "
        "correct; exit code 1 if one is not",
    )

    check_web = commands.add_parser(
        "check-web-config",
        help="check a file for --web.config.file and show all of its errors",
    )
    check_web.add_argument("file", type=Path, metavar="FILE", help=checked)

    _add_status(commands)

    health = commands.add_parser(
        "health", help="check whether a running exporter is alive; exit code 0 or 1"
    )
    health.add_argument(
        "--url",
        type=checked_url,
        help=f"URL that answers 200 if all is well (default ${HEALTH_URL}, or else "
        f"{DEFAULT_HEALTH_URL}, over TLS if the port uses it)",
    )
    health.add_argument(
        "--cert",
        type=Path,
        metavar="FILE",
        help="client certificate if the exporter requires one, PEM",
    )
    health.add_argument(
        "--key", type=Path, metavar="FILE", help="its key, if that is a separate file"
    )

    migrate = commands.add_parser(
        "migrate-storage",
        help="copy the ledger of --storage.path into the PostgreSQL of "
        "--storage.postgres.dsn-file, or back; neither may be in use",
        allow_abbrev=False,
    )
    migrate.add_argument(
        "--to",
        choices=("postgres", "sqlite"),
        required=True,
        help="where to copy it; the target must be empty",
    )
    migrate.add_argument("--dry-run", action="store_true", help="do everything, but store nothing")

    simulate = commands.add_parser(
        "simulate", help="run a local ComfyControl to test with", allow_abbrev=False
    )
    _add_simulator(simulate)
    _add_logging(simulate, suppress=True)
    simulate.add_argument(
        LISTEN_FLAG,
        dest="listen_address",
        action="append",
        type=_listen_address,
        default=argparse.SUPPRESS,
        metavar="HOST:PORT",
        help=f"address to listen on (default {DEFAULT_SIMULATOR_ADDRESS})",
    )
    # The name of the flag in earlier versions.
    simulate.add_argument(
        "--listen-address",
        dest="listen_address",
        action="append",
        type=_listen_address,
        default=argparse.SUPPRESS,
        help=argparse.SUPPRESS,
    )

    backup = commands.add_parser(
        "backup",
        help="copy the ledger into a file, even while an exporter runs",
        allow_abbrev=False,
    )
    _add_storage(backup, suppress=True)
    backup.add_argument(
        "file", type=Path, metavar="FILE", help="the copy; an existing file is replaced"
    )

    demo = commands.add_parser(
        "demo", help="run the exporter on a local ComfyControl", allow_abbrev=False
    )
    _add_simulator(demo)
    _add_web(demo, suppress=True)
    _add_logging(demo, suppress=True)
    parser.commands = commands.choices
    return parser


def _add_storage(parser: argparse.ArgumentParser, *, suppress: bool = False) -> None:
    parser.add_argument(
        "--storage.path",
        dest="storage_path",
        type=Path,
        default=argparse.SUPPRESS if suppress else Path("data"),
        metavar="DIR",
        help="folder of the ledger, which keeps counts right across restarts (default data/)",
    )


def _add_status(commands: "argparse._SubParsersAction[_Parser]") -> None:
    status = commands.add_parser(
        "status",
        help="show the state of a running exporter, live in a terminal; exit code 0: fine, "
        "1: no answer, 2: a critical problem",
    )
    status.add_argument(
        "url",
        nargs="?",
        type=checked_url,
        default=DEFAULT_STATUS_URL,
        metavar="URL",
        help=f"URL of the exporter (default {DEFAULT_STATUS_URL})",
    )
    status.add_argument(
        "--user",
        metavar="NAME",
        help=f"user name, if the exporter requires a password (or ${STATUS_USER})",
    )
    status.add_argument(
        "--password-file",
        type=Path,
        metavar="FILE",
        help=f"file with the password (or ${STATUS_PASSWORD} contains it)",
    )
    status.add_argument(
        "--ca",
        type=Path,
        metavar="FILE",
        help="CA certificates for the exporter's certificate, PEM",
    )
    status.add_argument(
        "--cert",
        type=Path,
        metavar="FILE",
        help="client certificate if the exporter requires one, PEM",
    )
    status.add_argument(
        "--key", type=Path, metavar="FILE", help="its key, if that is a separate file"
    )


def _add_logging(parser: argparse.ArgumentParser, *, suppress: bool = False) -> None:
    parser.add_argument(
        "--log.level",
        dest="log_level",
        choices=LEVELS,
        default=argparse.SUPPRESS if suppress else "info",
        help="the lowest level to log (default info)",
    )
    parser.add_argument(
        "--log.format",
        dest="log_format",
        choices=("logfmt", "json"),
        default=argparse.SUPPRESS if suppress else "logfmt",
        help="format of the log lines (default logfmt)",
    )


def _add_web(parser: argparse.ArgumentParser, *, suppress: bool = False) -> None:
    # A subcommand accepts these flags too, without resetting those given before it.
    parser.add_argument(
        LISTEN_FLAG,
        dest="listen_address",
        action="append",
        type=_listen_address,
        default=argparse.SUPPRESS if suppress else None,
        metavar="HOST:PORT",
        help=f"address for the metrics; may be given several times "
        f"(default {DEFAULT_LISTEN_ADDRESS}: all addresses)",
    )
    parser.add_argument(
        "--web.systemd-socket",
        dest="systemd_socket",
        action="store_true",
        default=argparse.SUPPRESS if suppress else False,
        help="serve metrics on sockets passed by systemd, instead of opening its own",
    )
    parser.add_argument(
        "--web.telemetry-path",
        dest="telemetry_path",
        type=_path,
        default=argparse.SUPPRESS if suppress else "/metrics",
        metavar="PATH",
        help="path of the metrics (default /metrics)",
    )
    parser.add_argument(
        "--web.external-url",
        dest="external_url",
        type=_external_url,
        default=argparse.SUPPRESS if suppress else None,
        metavar="URL",
        help="the URL at which users reach the pages, including a path that a proxy adds: links "
        "lead there (default: relative links, which work behind any proxy)",
    )
    parser.add_argument(
        "--web.config.file",
        dest="web_config_file",
        type=Path,
        default=argparse.SUPPRESS if suppress else None,
        metavar="FILE",
        help="TLS, passwords and headers, in the format of Prometheus' exporter-toolkit",
    )
    parser.add_argument(
        "--web.max-connections",
        dest="max_connections",
        type=_connections,
        default=argparse.SUPPRESS if suppress else MOST_CLIENTS,
        metavar="N",
        help=f"limit of clients at a time; a new one replaces the one that waits longest "
        f"(default {MOST_CLIENTS})",
    )


def _add_simulator(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--scenario",
        default="studio",
        metavar="NAME|FILE",
        help="what to simulate: a bundled scenario or a YAML file (default studio)",
    )
    parser.add_argument(
        "--speed",
        type=_positive,
        default=1.0,
        metavar="FACTOR",
        help="how much faster than real time (default 1)",
    )
    parser.add_argument(
        "--seed", type=int, default=1, metavar="N", help="the same seed repeats a run (default 1)"
    )


def _listen_address(text: str) -> ListenAddress:
    try:
        return parse_listen_address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _external_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        is_whole = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_whole = False
    if not is_whole or not _EXTERNAL_URL.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a URL such as https://example.com/comfy, without a user, ? and #"
        )
    return text.rstrip("/")


def _connections(text: str) -> int:
    # With fewer, a single browser could keep Prometheus out.
    if not text.isascii() or not text.isdigit() or not 8 <= int(text[:9]) <= 65_536:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 8 to 65536")
    return int(text)


def _path(text: str) -> str:
    if not text.startswith("/") or text.startswith(RESERVED_PATHS):
        raise argparse.ArgumentTypeError(
            f"{text!r}: a path starts with / and not with {' or '.join(RESERVED_PATHS)}"
        )
    if any(character in text for character in "{}?#") or not text.isprintable():
        raise argparse.ArgumentTypeError(f"{text!r} is not a plain path")
    return text


def checked_url(text: str) -> str:
    """Check that the text is an HTTP URL, and return it.

    Raises:
        argparse.ArgumentTypeError: it is not.
    """
    try:
        url = urlsplit(text)
        good = url.scheme in {"http", "https"} and url.hostname and url.port != 0
    except ValueError:
        good = False
    if not good or not text.isprintable() or " " in text:
        raise argparse.ArgumentTypeError(f"{text!r} is not an http:// or https:// URL")
    return text


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number


def say(text: str, stream: TextIO | None = None) -> None:
    """Print for the user: on standard error, unless it is the requested output."""
    print(text, file=stream or sys.stderr)
