"""Loads a `Config` from a file or the environment, or reports all errors at once."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from exporter.config import environment
from exporter.config.document import Document, read_document
from exporter.config.errors import MOST_SHOWN, ConfigError, ErrorEntry, in_order, key_path
from exporter.config.files import Loading
from exporter.config.id_files import files_of, read_ids
from exporter.config.models import Config
from exporter.config.storage import DsnUnreadableError, Postgres, Storage, read_dsn
from exporter.config.tokens import TokenSource, TokenUnreadableError
from exporter.files.plain import UnreadableError, read_plain
from exporter.plurals import counted

_LARGEST: Final = 1024 * 1024

_EXAMPLE: Final = """\
accounts:
  - name: studio
    token: ${COMFYCONTROL_TOKEN}
    listing: {}
"""


def load(path: Path, environ: Mapping[str, str]) -> Config:
    """Read and check a configuration file.

    Token files that it names must be readable now; files of workflow ids may appear later.

    Args:
        path: The file. Relative paths in it are relative to its folder.
        environ: The environment variables for `${VAR}`.

    Raises:
        ConfigError: The file cannot be read or is not valid. It lists all errors by line, without
            values.
    """
    text, unreadable = _text(path)
    document = Document(errors=unreadable) if text is None else read_document(text)
    config: Config | None = None
    if document.data is None:
        errors = document.errors or [ErrorEntry("", "is empty", _start_hint())]
    elif not isinstance(document.data, dict):
        errors = [*document.errors, ErrorEntry("", "is not a mapping of keys", _start_hint(), 1)]
    else:
        environment.substitute(document, environ)
        config, found = _validated(document, Loading(path.parent))
        errors = [*document.errors, *found]
    if errors or config is None:
        raise ConfigError(in_order(errors), str(path))
    return config


def from_environment(environ: Mapping[str, str]) -> Config:
    """The configuration without a file: one account, `default`, whose list is read.

    `COMFYCONTROL_TOKEN` is its token, or `COMFYCONTROL_TOKEN_FILE` names a file with it, and
    `COMFYCONTROL_BASE_URL` is the service's address if it is set and not empty.

    Raises:
        ConfigError: The token is not set, is set twice, or a value is not valid.
    """
    # Compose files pass an unset variable as an empty one.
    token, token_file = environ.get(environment.TOKEN), environ.get(environment.TOKEN_FILE)
    if token and token_file:
        hint = f"Set one of the two: {environment.TOKEN_FILE} is read again when it changes."
        entry = ErrorEntry(environment.TOKEN_FILE, f"is set beside {environment.TOKEN}", hint)
        raise ConfigError([entry], "environment")
    if token_file:
        token = None
    elif token is None:
        hint = (
            "Set it to a token from the service's dashboard to follow that whole account, name a "
            f"file with the token in {environment.TOKEN_FILE}, or give a file with --config.file "
            f"such as:\n\n{_indented(_EXAMPLE)}"
        )
        raise ConfigError([ErrorEntry(environment.TOKEN, "is not set", hint)], "no configuration")
    account: dict[str, object] = {"name": "default", "listing": {}}
    if token_file:
        account["token_file"] = _readable_token(Path(token_file))
    else:
        account["token"] = token
    if base_url := environ.get(environment.BASE_URL):
        account["base_url"] = base_url
    variables = {"token": environment.TOKEN, "base_url": environment.BASE_URL}
    errors: list[ErrorEntry] = []
    try:
        return Config.model_validate({"accounts": [account]})
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_input=False):
            context = detail["ctx"]
            key = variables[str(detail["loc"][-1])]
            hint = context["hint"].replace("`token` or `token_file`", environment.TOKEN)
            errors.append(ErrorEntry(key, context["reason"], hint))
    raise ConfigError(errors, "environment")


def in_postgres(config: Config, dsn_file: Path) -> Config:
    """The same configuration, with the ledger in PostgreSQL.

    Args:
        config: As it was loaded.
        dsn_file: File with the connection string.

    Raises:
        ConfigError: The file cannot be read, or the configuration names a file too.
    """
    flag = "--storage.postgres.dsn-file"
    if config.storage.postgres is not None:
        entry = ErrorEntry(flag, "is given beside `storage.postgres`", "Keep one of the two.")
        raise ConfigError([entry], "command line")
    try:
        read_dsn(dsn_file)
    except DsnUnreadableError as error:
        # The name is not shown, because some users put the connection string there.
        entry = ErrorEntry(
            flag,
            f"names a file that {error}",
            "Name a file that this user can read and that holds a connection string alone.",
        )
    else:
        storage = Storage(postgres=Postgres(dsn_file=dsn_file.absolute()))
        return config.model_copy(update={"storage": storage})
    raise ConfigError([entry], "command line")


def _readable_token(path: Path) -> Path:
    try:
        TokenSource.file(path).read()
    except TokenUnreadableError as error:
        # Made absolute, because it is relative to the working directory.
        reason = f"names {str(path.absolute())!r}, which {error.reason}"
        entry = ErrorEntry(environment.TOKEN_FILE, reason, error.hint)
    else:
        return path.absolute()
    raise ConfigError([entry], "environment")


def check(path: Path, environ: Mapping[str, str]) -> tuple[int, str]:
    """The result of `check-config`.

    Returns:
        The exit code, 0 for a file that can be used (with or without warnings) and 1 for one that
        cannot, and the text for the terminal.
    """
    try:
        config = load(path, environ)
    except ConfigError as error:
        return 1, str(error)
    names = ", ".join(account.name for account in config.accounts)
    count = counted(len(config.accounts), "account")
    warnings = (f"  warning: {warning}" for warning in config.warnings())
    return 0, "\n".join([f"{path}: valid, {count}: {names}", *warnings, *_of_id_files(config)])


def _of_id_files(config: Config) -> Iterator[str]:
    """Describe the files of ids. The exporter starts even if they are missing or invalid."""
    for index, account in enumerate(config.accounts):
        if not account.workflow_files:
            continue
        found = {pattern: files_of(pattern) for pattern in account.workflow_files}
        ids: set[str] = set()
        errors: list[tuple[Path, tuple[ErrorEntry, ...]]] = []
        paths = sorted({path for files in found.values() for path in files})
        for path in paths:
            file = read_ids(path)
            ids |= file.ids or set()
            errors.append((path, file.errors))
        counts = f"{counted(len(ids), 'id')} in {counted(len(paths), 'workflow file')}"
        yield f"  {account.name}: {counts}"
        if len(ids) > account.max_open_workflows:
            yield (
                f"  warning: accounts[{index}] follows {account.max_open_workflows:,} of these at "
                "a time, the others as those end. Raise `max_open_workflows`, or name fewer."
            )
        for number, files in enumerate(found.values()):
            if not files:
                yield (
                    f"  warning: accounts[{index}].workflow_files[{number}] names no file that is "
                    "there. Check the path; the files may also appear later."
                )
        for path, of_file in errors:
            yield from (
                f"  warning: workflow file {path}: {entry}" for entry in of_file[:MOST_SHOWN]
            )
            if len(of_file) > MOST_SHOWN:
                more = counted(len(of_file) - MOST_SHOWN, "more error")
                yield f"  warning: workflow file {path}: {more}"


def _validated(document: Document, loading: Loading) -> tuple[Config | None, list[ErrorEntry]]:
    """The validated configuration, or errors; values with an earlier error have no second one."""
    try:
        return Config.model_validate(document.data, context=loading), []
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
    return None, [
        ErrorEntry(
            key_path(detail["loc"]),
            detail["ctx"]["reason"],
            detail["ctx"]["hint"],
            document.line(detail["loc"]),
        )
        for detail in details
        if not document.has_error(detail["loc"])
    ]


def _text(path: Path) -> tuple[str | None, list[ErrorEntry]]:
    """The content of the file, or the error."""
    hint = "Name a YAML file that this user can read."
    line = None
    try:
        return read_plain(path, _LARGEST).content.decode("utf-8-sig"), []
    except UnreadableError as error:
        reason = error.reason
        if "larger" in reason:
            hint = "Move lists of ids into files, and name these under `workflow_files`."
    except UnicodeDecodeError as error:
        reason, hint = "is not UTF-8 text", "Save it as UTF-8."
        line = error.object.count(b"\n", 0, error.start) + 1
    return None, [ErrorEntry("", reason, hint, line)]


def _start_hint() -> str:
    return f"Start from:\n\n{_indented(_EXAMPLE)}"


def _indented(text: str) -> str:
    return "".join(f"      {line}\n" for line in text.splitlines())
