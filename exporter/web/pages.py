"""The pages for people: how the accounts are, and the configuration that is in force.

Plain HTML without a script or anything from elsewhere, so that they also work in a text browser,
at 3 a.m., through a tunnel.
"""

import html
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from string import Template
from typing import Final
from urllib.parse import quote

import yaml

from exporter.config import Account, Config
from exporter.config.durations import format_duration
from exporter.config.tokens import MASK
from exporter.metrics.reading import AccountReading, Reading, is_blind, watched_by_listing
from exporter.observations import OPEN_STATUSES

CONFIG_PATH: Final = "/config"
DOCUMENTATION_URL: Final = "https://github.com/comfycontrol/comfycontrol-exporter/tree/main/docs"

_NOTHING: Final = "-"

# Text that may stand beside, never alone: a colour is not seen by everybody.
_STYLE: Final = """\
    body { font: 16px/1.5 sans-serif; margin: 2rem auto; max-width: 80rem; padding: 0 1rem; }
    table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
    th, td { border-bottom: 1px solid #ccc; padding: .3rem .6rem; text-align: right; }
    tbody th { font-weight: normal; }
    th:first-child { text-align: left; }
    .bad { color: #a30000; font-weight: bold; }
    .scroll { overflow-x: auto; }"""

_LANDING: Final = Template("""\
<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width">
  <title>ComfyControl exporter</title>
  <style>
$style
  </style>
</head>
<body>
  <h1>ComfyControl exporter</h1>
  <p>Prometheus exporter for workflows hosted on ComfyControl.
    Version $version, revision $revision, Python $python.</p>
  <ul>
$links
  </ul>
  <h2>Accounts</h2>
  <div class="scroll">
  <table>
    <thead>
      <tr>$heads</tr>
    </thead>
    <tbody>
$rows
    </tbody>
  </table>
  </div>
$notes
</body>
</html>
""")


@dataclass(frozen=True, slots=True)
class Link:
    """A line of the landing page's list; the target is a path of ours or a whole URL."""

    target: str
    title: str
    meaning: str


# The landing page -----------------------------------------------------------------------------


def landing_page(reading: Reading, config: Config, links: tuple[Link, ...]) -> str:
    """What somebody on call wants to know first, at the instant of the reading."""
    heads = (
        "account",
        "service",
        *OPEN_STATUSES,
        "other",
        "streams",
        "by listing",
        "list read whole",
        "requests",
        "cooldown",
    )
    build = reading.build
    return _LANDING.substitute(
        style=_STYLE,
        version=html.escape(build.version),
        revision=html.escape(build.revision),
        python=html.escape(build.python_version),
        links="\n".join(map(_item, links)),
        heads="".join(f'<th scope="col">{html.escape(head)}</th>' for head in heads),
        rows="\n".join(_rows(reading, config)),
        notes="\n".join(f"  <p>{note}</p>" for note in _notes(reading)),
    )


def _item(link: Link) -> str:
    # Percent-encoded, so that a path of whatever characters stays one path.
    target = html.escape(quote(link.target, safe="/:-._~"))
    title, meaning = html.escape(link.title), html.escape(link.meaning)
    return f'    <li><a href="{target}">{title}</a>: {meaning}</li>'


def _rows(reading: Reading, config: Config) -> Iterator[str]:
    # None: not seen yet, or in a status that this version does not know.
    by_status = Counter(
        (workflow.account, workflow.status if workflow.unknown_status is None else None)
        for workflow in reading.ledger.open_workflows
    )
    unfollowed = {sample.labels[0]: str(sample.value) for sample in watched_by_listing(reading)}
    # Both may be from before and after a reload: what one does not know is left empty.
    configured = {account.name: account for account in config.accounts}
    for name, seen in reading.accounts.items():
        account = configured.get(name)
        cells = [_service(reading, name, seen)]
        if is_blind(reading, name):
            # As in the metrics: what was seen last is no longer what is.
            cells += [_NOTHING] * (len(OPEN_STATUSES) + 1)
        else:
            cells += [str(by_status[name, status]) for status in (*OPEN_STATUSES, None)]
        cells += [str(seen.streams), unfollowed.get(name, _NOTHING)]
        cells.append(_listed(reading, seen))
        cells += _budget(reading, account)
        head = f'<th scope="row">{html.escape(name)}</th>'
        yield f"      <tr>{head}{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _service(reading: Reading, name: str, seen: AccountReading) -> str:
    health = seen.health
    if health.up is None:
        return "not asked yet"
    if health.up:
        return "up"
    since = ""
    if health.down_since is not None:
        since = f" for {_seconds(reading.at.monotonic - health.down_since)}"
    blind = ", live numbers withdrawn" if is_blind(reading, name) else ""
    reason = "" if health.reason is None else f": {html.escape(health.reason)}"
    return f"{_bad(f'down{since}')}{reason}{blind}"


def _listed(reading: Reading, seen: AccountReading) -> str:
    if seen.list_completed_at is not None:
        return _ago(reading, seen.list_completed_at)
    return "not yet" if seen.listed else "not listed"


def _budget(reading: Reading, account: Account | None) -> tuple[str, str]:
    """Requests of the account's address within its window, and how long none may be sent."""
    for budget in reading.budgets:
        if account is not None and budget.address == account.address:
            used = f"{budget.used} of {budget.allowed} in {format_duration(account.rate_limit.per)}"
            if budget.allowed < budget.share:
                used += _bad(f"cut from {budget.share}: others use this address")
            left = budget.cooldown_until - reading.at.wall
            if left > 0:
                return used, _bad(f"{_seconds(left)} left")
            return used, "none"
    return _NOTHING, _NOTHING


def _notes(reading: Reading) -> Iterator[str]:
    ledger = reading.ledger
    kept = f"Ledger: {len(ledger.open_workflows)} open and {ledger.settled} settled workflows."
    if ledger.errors:
        times = "once" if ledger.errors == 1 else f"{ledger.errors} times"
        kept += _bad(f"It could not be kept {times} since the start: the log says why.")
    yield kept
    config = reading.config
    read = f"Configuration read {_ago(reading, config.last_reload_success_at)}."
    if not config.last_reload_successful:
        read += _bad("A newer one has faults, which the log lists: the old one stays.")
    if config.web_last_reload_successful is False:
        read += _bad("The file of --web.config.file has faults now: what it said before stays.")
    yield read
    yield f"As of {_stamp(reading.at.wall)}. Other: not seen yet, or in a status unknown here."


def _bad(text: str) -> str:
    return f' <span class="bad">{html.escape(text)}</span>'


def _ago(reading: Reading, wall: float) -> str:
    # A clock may have been set back in between.
    age = max(0.0, reading.at.wall - wall)
    return f'<time datetime="{_stamp(wall)}" title="{_stamp(wall)}">{_seconds(age)} ago</time>'


def _stamp(wall: float) -> str:
    return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _seconds(seconds: float) -> str:
    return format_duration(float(round(seconds)))


# The configuration ----------------------------------------------------------------------------

_SECRET_KEY: Final = re.compile(
    r"(?:^|_)(?:token|password|passwd|secret|key|credentials?)$", re.IGNORECASE
)
_USERINFO: Final = re.compile(r"(?<=://)[^/?#\s]*@")


def config_page(config: Config) -> str:
    """The configuration in force as YAML, with its defaults, and `<secret>` for each secret."""
    data = config.model_dump(mode="json", exclude_none=True)
    for dumped, account in zip(data["accounts"], config.accounts, strict=True):
        if account.token_file is not None:
            # The model derives it from the file; a file with both would be refused.
            del dumped["token"]
    text = yaml.dump(
        masked(data),
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=False,
        width=float("inf"),
    )
    return f"# In force, with the defaults. Secrets read {MASK}.\n{text}"


def masked(data: object, key: str = "") -> object:
    """Plain data without what could be a secret.

    Secrets have a type of their own, which dumps as a mask: this is the second lock, for a key
    that is given another type one day, and for what a person hides in a URL.
    """
    if isinstance(data, Mapping):
        return {name: masked(value, str(name)) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [masked(value, key) for value in data]
    if data is not None and _SECRET_KEY.search(key):
        return MASK
    if isinstance(data, str):
        return _USERINFO.sub(f"{MASK}@", data)
    return data


class _Dumper(yaml.SafeDumper):
    """Lists of numbers on one line, 60.0 as 60, and no anchors for what is there twice."""

    def ignore_aliases(self, data: object) -> bool:
        del data
        return True

    def represent_list(self, data: Iterable[object]) -> yaml.SequenceNode:
        entries = list(data)
        numbers = all(isinstance(entry, int | float) for entry in entries)
        return self.represent_sequence("tag:yaml.org,2002:seq", entries, flow_style=numbers)

    def represent_float(self, data: float) -> yaml.ScalarNode:
        return self.represent_int(int(data)) if data.is_integer() else super().represent_float(data)


_Dumper.add_representer(list, _Dumper.represent_list)
_Dumper.add_representer(float, _Dumper.represent_float)
