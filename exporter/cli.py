"""The commands: what each one does, and its exit code."""

import argparse
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from exporter.commands.flags import (
    COLLECTORS,
    DEFAULT_HEALTH_URL,
    DEFAULT_LISTEN_ADDRESS,
    DEFAULT_SIMULATOR_ADDRESS,
    EXIT_BAD_INPUT,
    HEALTH_URL,
    STATUS_PASSWORD,
    STATUS_USER,
    checked_url,
    parse,
    say,
)
from exporter.logs import configure
from exporter.metrics.announcements import HOLD_SECONDS
from exporter.plurals import counted
from exporter.signals import EndSignals, ReloadSignal
from exporter.web.listening import ListenError, handed_in, listen_on, parse_listen_address

if TYPE_CHECKING:
    from exporter.config import Config
    from exporter.web.security.watching import WatchedSecurity

EXIT_OK: Final = 0
EXIT_CANNOT_LISTEN: Final = 2


def main(  # noqa: PLR0911 - one for each command
    argv: Sequence[str] | None = None, *, hold: float = HOLD_SECONDS
) -> int:
    """Run the command; return its exit code.

    `hold` is for how many seconds a new series shows 0. It is no flag, because only tests have a
    reason to change it.
    """
    arguments = parse(sys.argv[1:] if argv is None else argv)
    configure(arguments.log_level, arguments.log_format)
    match arguments.command:
        case "check-config":
            return _check_config(arguments.file, series=arguments.series, online=arguments.online)
        case "check-web-config":
            return _check_web_config(arguments.file)
        case "hash-password":
            return _hash_password()
        case "health":
            return _health(arguments)
        case "migrate-storage":
            return _migrate_storage(arguments)
        case "status":
            return _status(arguments)
        case "simulate":
            return _simulate(arguments)
        case "backup":
            return _backup(arguments)
        case "demo":
            return _demo(arguments)
        case _:
            return _export(arguments, hold)


# What each command does. Its parts are imported when it runs: `--help` and `check-config` need
# none of the others. -----------------------------------------------------------------------------


def _check_config(file: Path, *, series: bool, online: bool) -> int:
    from exporter.comfycontrol.connections import TrustError, make_tls_context  # noqa: PLC0415
    from exporter.config import check, load  # noqa: PLC0415

    code, text = check(file, os.environ)
    try:
        make_tls_context()
    except TrustError as error:
        # Not an error of the file, but the exporter would not start with it either.
        code, text = EXIT_BAD_INPUT, f"{text}\nenvironment: {error}"
    say(text, sys.stdout if code == EXIT_OK else sys.stderr)
    if series and code == EXIT_OK:
        from exporter.metrics.series import table  # noqa: PLC0415

        say(table(load(file, os.environ)), sys.stdout)
    if online and code == EXIT_OK:
        return _ask_online(load(file, os.environ))
    return code


def _ask_online(config: "Config") -> int:
    from exporter.commands.online import ask_each  # noqa: PLC0415

    code = EXIT_OK
    # Flushed, so that lines of both streams are in the right order if they are read as one.
    sys.stdout.flush()
    try:
        for found in ask_each(config):
            say(f"  {found}", sys.stdout if found.is_right else sys.stderr)
            sys.stdout.flush()
            if not found.is_right:
                code = EXIT_BAD_INPUT
    except KeyboardInterrupt:
        say("  broken off: the others were not asked")
        return EXIT_BAD_INPUT
    return code


def _check_web_config(file: Path) -> int:
    from exporter.web.security.loading import check  # noqa: PLC0415

    code, text = check(file)
    say(text, sys.stdout if code == EXIT_OK else sys.stderr)
    return code


def _hash_password() -> int:
    from exporter.web.security.hashing import HashError, hash_password  # noqa: PLC0415

    try:
        say(hash_password(), sys.stdout)
    except HashError as error:
        say(str(error))
        return EXIT_BAD_INPUT
    return EXIT_OK


def _listening(arguments: argparse.Namespace) -> tuple[socket.socket, ...]:
    """Open the sockets to serve on; raises `ListenError`."""
    if arguments.systemd_socket:
        return handed_in(os.environ)
    return listen_on(arguments.listen_address or [parse_listen_address(DEFAULT_LISTEN_ADDRESS)])


def _security(arguments: argparse.Namespace) -> "WatchedSecurity | None":
    """Load the file of `--web.config.file`; raises `ConfigError`."""
    if arguments.web_config_file is None:
        return None
    from exporter.web.security.watching import WatchedSecurity  # noqa: PLC0415

    return WatchedSecurity(arguments.web_config_file)


def _health(arguments: argparse.Namespace) -> int:
    from exporter.commands.health import HealthCheckError, check_health  # noqa: PLC0415

    # Compose files pass an unset variable as an empty one.
    url = arguments.url or os.environ.get(HEALTH_URL) or DEFAULT_HEALTH_URL
    try:
        is_healthy, text = check_health(checked_url(url), arguments.cert, arguments.key)
    except argparse.ArgumentTypeError as error:
        is_healthy, text = False, f"{HEALTH_URL}: {error}"
    except HealthCheckError as error:
        is_healthy, text = False, str(error)
    say(text, sys.stdout if is_healthy else sys.stderr)
    return EXIT_OK if is_healthy else EXIT_BAD_INPUT


def _migrate_storage(arguments: argparse.Namespace) -> int:
    from exporter.app.app import clocks  # noqa: PLC0415
    from exporter.ledger.shared import driver_is_missing  # noqa: PLC0415
    from exporter.ledger.sqlite import LedgerInUseError, OpenLedgerError  # noqa: PLC0415

    folder: Path = arguments.storage_path
    dsn_file: Path | None = arguments.dsn_file
    if dsn_file is None:
        say("give the file with the connection string: --storage.postgres.dsn-file=FILE")
        return EXIT_BAD_INPUT
    try:
        from exporter.ledger.postgres.migrating import (  # noqa: PLC0415
            MigrationError,
            into_postgres,
            into_sqlite,
        )
    except ImportError as error:
        say(driver_is_missing(error))
        return EXIT_BAD_INPUT
    try:
        if arguments.to == "postgres":
            done = into_postgres(folder, dsn_file, clocks, dry_run=arguments.dry_run)
        else:
            done = into_sqlite(dsn_file, folder, clocks, dry_run=arguments.dry_run)
    except (MigrationError, OpenLedgerError, LedgerInUseError) as error:
        say(str(error))
        return EXIT_BAD_INPUT
    told = ", ".join(
        (
            counted(done.accounts, "account"),
            counted(done.workflows, "workflow"),
            f"{done.series:,} series",
        )
    )
    if arguments.dry_run:
        say(f"it would be copied: {told}; nothing was changed", sys.stdout)
    else:
        say(f"copied: {told}; do not start an exporter on the old one again", sys.stdout)
    return EXIT_OK


def _status(arguments: argparse.Namespace) -> int:
    from exporter.commands.status import Way, show_status  # noqa: PLC0415

    user = arguments.user or os.environ.get(STATUS_USER) or None
    password = os.environ.get(STATUS_PASSWORD, "")
    if arguments.password_file is not None:
        try:
            password = arguments.password_file.read_text("utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not text"
            say(f"--password-file {arguments.password_file}: {why}")
            return EXIT_BAD_INPUT
    return show_status(
        Way(arguments.url, user, password, arguments.ca, arguments.cert, arguments.key)
    )


def _export(arguments: argparse.Namespace, hold: float) -> int:
    signals = EndSignals()
    reload_signal = ReloadSignal()
    from exporter.app.reloading import Reloadable  # noqa: PLC0415
    from exporter.app.running import WebSide, run  # noqa: PLC0415
    from exporter.comfycontrol.connections import (  # noqa: PLC0415
        CannotBindError,
        TrustError,
        make_tls_context,
    )
    from exporter.config import (  # noqa: PLC0415
        ConfigError,
        TokenUnreadableError,
        from_environment,
        in_postgres,
        load,
    )
    from exporter.files.watching import WatchedState  # noqa: PLC0415
    from exporter.ledger.sqlite import LedgerInUseError, OpenLedgerError  # noqa: PLC0415

    config_file: Path | None = arguments.config_file

    def read_config() -> "Config":
        if config_file is None:
            config = from_environment(os.environ)
        else:
            config = load(config_file, os.environ)
        dsn_file: Path | None = arguments.dsn_file
        return config if dsn_file is None else in_postgres(config, dsn_file)

    # Created before the file is read, so that a change during the start is detected.
    watched = None if config_file is None or not arguments.watch else WatchedState([config_file])
    try:
        config = read_config()
        security = _security(arguments)
        # Each client creates its own context; this one reports an error before anything is written.
        make_tls_context()
    except (ConfigError, TrustError) as error:
        say(str(error))
        return EXIT_BAD_INPUT
    try:
        listening = _listening(arguments)
    except ListenError as error:
        say(str(error))
        return EXIT_CANNOT_LISTEN
    try:
        web = WebSide(
            listening,
            arguments.telemetry_path,
            security,
            lifecycle=arguments.lifecycle,
            most_clients=arguments.max_connections,
            external_url=arguments.external_url,
        )
        reloadable = Reloadable(read_config, str(config_file or "environment"), watched)
        run(
            config,
            web,
            arguments.storage_path,
            signals,
            reloads=(reloadable, reload_signal),
            collectors=frozenset(
                name for name in COLLECTORS if getattr(arguments, f"collector_{name}")
            ),
            hold=hold,
        )
    except (
        CannotBindError,
        TrustError,
        LedgerInUseError,
        OpenLedgerError,
        TokenUnreadableError,
    ) as error:
        say(str(error))
        return EXIT_BAD_INPUT
    return EXIT_OK


def _backup(arguments: argparse.Namespace) -> int:
    from exporter.ledger.backup import BackupError, back_up  # noqa: PLC0415

    try:
        count = back_up(arguments.storage_path, arguments.file)
    except BackupError as error:
        say(str(error))
        return EXIT_BAD_INPUT
    say(
        f"{arguments.file.absolute()}: a copy of the ledger, {counted(count, 'workflow')}",
        sys.stdout,
    )
    return EXIT_OK


def _simulate(arguments: argparse.Namespace) -> int:
    from exporter.simulator import load_scenario, serve  # noqa: PLC0415

    try:
        scenario = load_scenario(arguments.scenario)
    except ValueError as error:
        say(str(error))
        return EXIT_BAD_INPUT
    (address,) = arguments.listen_address or [parse_listen_address(DEFAULT_SIMULATOR_ADDRESS)]
    return serve(
        scenario,
        seed=arguments.seed,
        speed=arguments.speed,
        host=address.host,
        port=address.port,
    )


def _demo(arguments: argparse.Namespace) -> int:
    signals = EndSignals()
    from exporter.app.running import WebSide  # noqa: PLC0415
    from exporter.commands.demo import demonstrate  # noqa: PLC0415
    from exporter.config import ConfigError  # noqa: PLC0415
    from exporter.simulator import load_scenario  # noqa: PLC0415

    try:
        scenario = load_scenario(arguments.scenario)
        security = _security(arguments)
    except (ValueError, ConfigError) as error:
        say(str(error))
        return EXIT_BAD_INPUT
    try:
        listening = _listening(arguments)
    except ListenError as error:
        say(str(error))
        return EXIT_CANNOT_LISTEN
    demonstrate(
        scenario,
        WebSide(
            listening,
            arguments.telemetry_path,
            security,
            most_clients=arguments.max_connections,
            external_url=arguments.external_url,
        ),
        signals,
        seed=arguments.seed,
        speed=arguments.speed,
    )
    return EXIT_OK
