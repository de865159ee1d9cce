"""Flags and subcommands."""

import argparse
import os
import platform
import socket
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, TextIO
from urllib.parse import urlsplit

from exporter import __revision__, __version__
from exporter.logs import LEVELS, configure
from exporter.signals import EndSignals, ReloadSignal
from exporter.web.listening import (
    CannotListen,
    ListenAddress,
    handed_in,
    listen,
    parse_listen_address,
)

if TYPE_CHECKING:
    from exporter.config import Config
    from exporter.web.security import WatchedSecurity

EXIT_OK: Final = 0
EXIT_BAD_INPUT: Final = 1
"""A wrong configuration or flag; nothing was started."""
EXIT_CANNOT_LISTEN: Final = 2

LISTEN_FLAG: Final = "--web.listen-address"
DEFAULT_LISTEN_ADDRESS: Final = ":10871"
DEFAULT_HEALTH_URL: Final = "http://localhost:10871/-/healthy"
HEALTH_URL: Final = "COMFYCONTROL_EXPORTER_HEALTH_URL"


class _Parser(argparse.ArgumentParser):
    given: Sequence[str] = ()
    """The command line."""

    def error(self, message: str) -> NoReturn:
        if message.startswith("argument COMMAND:"):
            # Argparse takes the value of a flag that it does not know for the command.
            flags = [text.partition("=")[0] for text in self.given if text.startswith("--")]
            for flag in flags:
                if flag not in self._option_string_actions:
                    near = get_close_matches(flag, self._option_string_actions, 1)
                    message = f"unknown flag {flag}" + "".join(f"; did you mean {n}?" for n in near)
                    break
        self.print_usage(sys.stderr)
        self.exit(EXIT_BAD_INPUT, f"{self.prog}: {message}\n")


class _Version(argparse.Action):
    """Argparse's own breaks the line where the terminal ends."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - argparse's
        super().__init__(**options | {"nargs": 0, "default": argparse.SUPPRESS})

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        version = f"{__version__} (revision {__revision__}, Python {platform.python_version()})"
        _say(f"{parser.prog} {version}", sys.stdout)
        parser.exit()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    parser = _parser()
    parser.given = sys.argv[1:] if argv is None else argv
    arguments = parser.parse_args(argv)
    if sum(text.partition("=")[0] == LISTEN_FLAG for text in parser.given) > 1:
        # Argparse would take the last without a word.
        parser.error(f"argument {LISTEN_FLAG}: is given more than once; :PORT is every address")
    if arguments.systemd_socket and arguments.listen_address is not None:
        parser.error("argument --web.systemd-socket: not allowed with --web.listen-address")
    if arguments.watch and arguments.config_file is None:
        parser.error("argument --config.watch: there is no file without --config.file")
    configure(arguments.log_level, arguments.log_format)
    match arguments.command:
        case "check-config":
            return _check_config(arguments.file)
        case "check-web-config":
            return _check_web_config(arguments.file)
        case "health":
            return _health(arguments)
        case "simulate":
            return _simulate(arguments)
        case "demo":
            return _demo(arguments)
        case _:
            return _export(arguments)


def _parser() -> _Parser:
    parser = _Parser(
        prog="comfycontrol-exporter",
        description="Prometheus exporter for workflows hosted on ComfyControl. With "
        "COMFYCONTROL_TOKEN in the environment and no flags it follows the whole account.",
        # No prefixes: a flag added later must not change what an old command line means.
        allow_abbrev=False,
    )
    _add_logging(parser)
    _add_web(parser)
    parser.add_argument(
        "--config.file",
        dest="config_file",
        type=Path,
        metavar="FILE",
        help="configuration; without it, one account from COMFYCONTROL_TOKEN",
    )
    parser.add_argument(
        "--config.watch",
        dest="watch",
        action="store_true",
        help="read the configuration file again whenever it changes, not on SIGHUP alone",
    )
    parser.add_argument(
        "--web.enable-lifecycle",
        dest="lifecycle",
        action="store_true",
        help="let POST /-/reload have the configuration read again, as SIGHUP does",
    )
    parser.add_argument(
        "--storage.path",
        dest="storage_path",
        type=Path,
        default=Path("data"),
        metavar="DIR",
        help="folder of the ledger, so that restarts neither repeat nor lose (default data/)",
    )
    parser.add_argument("--version", action=_Version, help="say which version this is")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)

    checked = "what to check; exit code 0: it can be used, 1: it cannot"
    check = commands.add_parser(
        "check-config", help="check a configuration file and say everything that is wrong with it"
    )
    check.add_argument("file", type=Path, metavar="FILE", help=checked)

    check_web = commands.add_parser(
        "check-web-config",
        help="check a file for --web.config.file and say everything that is wrong with it",
    )
    check_web.add_argument("file", type=Path, metavar="FILE", help=checked)

    health = commands.add_parser(
        "health", help="ask a running exporter whether it lives; exit code 0 or 1"
    )
    health.add_argument(
        "--url",
        type=_url,
        help=f"what answers 200 when all is well (default ${HEALTH_URL}, or else "
        f"{DEFAULT_HEALTH_URL}, over TLS where that port has it)",
    )
    health.add_argument(
        "--cert",
        type=Path,
        metavar="FILE",
        help="certificate to show where the exporter asks for one, PEM",
    )
    health.add_argument(
        "--key", type=Path, metavar="FILE", help="its key, where that is a file of its own"
    )

    simulate = commands.add_parser(
        "simulate", help="run a local ComfyControl, to try things on", allow_abbrev=False
    )
    _add_simulator(simulate)
    simulate.add_argument(
        "--listen-address",
        type=_listen_address,
        default=ListenAddress("127.0.0.1", 10872),
        metavar="HOST:PORT",
        help="where it listens (default 127.0.0.1:10872)",
    )

    demo = commands.add_parser(
        "demo", help="run the exporter on a local ComfyControl", allow_abbrev=False
    )
    _add_simulator(demo)
    _add_web(demo, suppress=True)
    _add_logging(demo, suppress=True)
    return parser


def _add_logging(parser: argparse.ArgumentParser, *, suppress: bool = False) -> None:
    parser.add_argument(
        "--log.level",
        dest="log_level",
        choices=LEVELS,
        default=argparse.SUPPRESS if suppress else "info",
        help="least severe lines to log (default info)",
    )
    parser.add_argument(
        "--log.format",
        dest="log_format",
        choices=("logfmt", "json"),
        default=argparse.SUPPRESS if suppress else "logfmt",
        help="form of the log lines (default logfmt)",
    )


def _add_web(parser: argparse.ArgumentParser, *, suppress: bool = False) -> None:
    # A subcommand takes these flags too, without wiping out what stood before it.
    parser.add_argument(
        LISTEN_FLAG,
        dest="listen_address",
        type=_listen_address,
        default=argparse.SUPPRESS if suppress else None,
        metavar="HOST:PORT",
        help=f"where to serve metrics (default {DEFAULT_LISTEN_ADDRESS}: every address)",
    )
    parser.add_argument(
        "--web.systemd-socket",
        dest="systemd_socket",
        action="store_true",
        default=argparse.SUPPRESS if suppress else False,
        help="serve metrics on the sockets that systemd hands in, instead of listening itself",
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
        "--web.config.file",
        dest="web_config_file",
        type=Path,
        default=argparse.SUPPRESS if suppress else None,
        metavar="FILE",
        help="TLS, passwords and headers, in the format of Prometheus' exporter-toolkit",
    )


def _add_simulator(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--scenario",
        default="studio",
        metavar="NAME|FILE",
        help="what happens there: a bundled scenario or a YAML file (default studio)",
    )
    parser.add_argument(
        "--speed",
        type=_positive,
        default=1.0,
        metavar="FACTOR",
        help="how much faster than in reality (default 1)",
    )
    parser.add_argument(
        "--seed", type=int, default=1, metavar="N", help="the same seed repeats a run (default 1)"
    )


def _listen_address(text: str) -> ListenAddress:
    try:
        return parse_listen_address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _path(text: str) -> str:
    reserved = ("/-/", "/api/", "/config")
    if not text.startswith("/") or any(text.startswith(prefix) for prefix in reserved):
        raise argparse.ArgumentTypeError(
            f"{text!r}: a path starts with / and not with {' or '.join(reserved)}"
        )
    if any(character in text for character in "{}?#") or not text.isprintable():
        raise argparse.ArgumentTypeError(f"{text!r} is not a plain path")
    return text


def _url(text: str) -> str:
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


# What each command does. Its parts are imported when it runs: `--help` and `check-config` need
# none of the others. -----------------------------------------------------------------------------


def _check_config(file: Path) -> int:
    from exporter.config import check  # noqa: PLC0415

    code, text = check(file, os.environ)
    _say(text, sys.stdout if code == EXIT_OK else sys.stderr)
    return code


def _check_web_config(file: Path) -> int:
    from exporter.web.security import check  # noqa: PLC0415

    code, text = check(file)
    _say(text, sys.stdout if code == EXIT_OK else sys.stderr)
    return code


def _listening(arguments: argparse.Namespace) -> tuple[socket.socket, ...]:
    """What to serve on; raises `CannotListen`."""
    if arguments.systemd_socket:
        return handed_in(os.environ)
    address = arguments.listen_address or parse_listen_address(DEFAULT_LISTEN_ADDRESS)
    return (listen(address),)


def _security(arguments: argparse.Namespace) -> "WatchedSecurity | None":
    """What `--web.config.file` says; raises `ConfigError`."""
    if arguments.web_config_file is None:
        return None
    from exporter.web.security import WatchedSecurity  # noqa: PLC0415

    return WatchedSecurity(arguments.web_config_file)


def _health(arguments: argparse.Namespace) -> int:
    from exporter.health import CannotAsk, check_health  # noqa: PLC0415

    # Compose files pass a variable that nobody set as an empty one.
    url = arguments.url or os.environ.get(HEALTH_URL) or DEFAULT_HEALTH_URL
    try:
        is_healthy, text = check_health(_url(url), arguments.cert, arguments.key)
    except argparse.ArgumentTypeError as error:
        is_healthy, text = False, f"{HEALTH_URL}: {error}"
    except CannotAsk as error:
        is_healthy, text = False, str(error)
    _say(text, sys.stdout if is_healthy else sys.stderr)
    return EXIT_OK if is_healthy else EXIT_BAD_INPUT


def _export(arguments: argparse.Namespace) -> int:
    signals = EndSignals()
    reload_signal = ReloadSignal()
    from exporter.config import (  # noqa: PLC0415
        ConfigError,
        TokenUnreadable,
        from_environment,
        load,
    )
    from exporter.config.stamps import Watched  # noqa: PLC0415
    from exporter.ledger.sqlite import CannotOpenLedger, LedgerInUse  # noqa: PLC0415
    from exporter.reloading import Reloadable  # noqa: PLC0415
    from exporter.running import WebSide, run  # noqa: PLC0415

    config_file: Path | None = arguments.config_file

    def read_config() -> "Config":
        if config_file is None:
            return from_environment(os.environ)
        return load(config_file, os.environ)

    # Before it is read: what changes while everything starts is a change.
    watched = None if config_file is None or not arguments.watch else Watched(config_file)
    try:
        config = read_config()
        security = _security(arguments)
    except ConfigError as error:
        _say(str(error))
        return EXIT_BAD_INPUT
    try:
        listening = _listening(arguments)
    except CannotListen as error:
        _say(str(error))
        return EXIT_CANNOT_LISTEN
    try:
        web = WebSide(listening, arguments.telemetry_path, security, arguments.lifecycle)
        reloadable = Reloadable(read_config, str(config_file or "environment"), watched)
        run(config, web, arguments.storage_path, signals, reloads=(reloadable, reload_signal))
    except (LedgerInUse, CannotOpenLedger, TokenUnreadable) as error:
        _say(str(error))
        return EXIT_BAD_INPUT
    return EXIT_OK


def _simulate(arguments: argparse.Namespace) -> int:
    from exporter.simulator import load_scenario, serve  # noqa: PLC0415

    try:
        scenario = load_scenario(arguments.scenario)
    except ValueError as error:
        _say(str(error))
        return EXIT_BAD_INPUT
    return serve(
        scenario,
        seed=arguments.seed,
        speed=arguments.speed,
        host=arguments.listen_address.host,
        port=arguments.listen_address.port,
    )


def _demo(arguments: argparse.Namespace) -> int:
    signals = EndSignals()
    from exporter.config import ConfigError  # noqa: PLC0415
    from exporter.demo import demonstrate  # noqa: PLC0415
    from exporter.running import WebSide  # noqa: PLC0415
    from exporter.simulator import load_scenario  # noqa: PLC0415

    try:
        scenario = load_scenario(arguments.scenario)
        security = _security(arguments)
    except (ValueError, ConfigError) as error:
        _say(str(error))
        return EXIT_BAD_INPUT
    try:
        listening = _listening(arguments)
    except CannotListen as error:
        _say(str(error))
        return EXIT_CANNOT_LISTEN
    demonstrate(
        scenario,
        WebSide(listening, arguments.telemetry_path, security),
        signals,
        seed=arguments.seed,
        speed=arguments.speed,
    )
    return EXIT_OK


def _say(text: str, stream: TextIO | None = None) -> None:
    print(text, file=stream or sys.stderr)
