"""The reference page of the configuration, generated from the models.

python -m exporter.config.reference > docs/configuration.md
"""

import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic.fields import FieldInfo

from exporter.config import environment
from exporter.config.accounts import WAYS_IN, alternatives
from exporter.config.models import (
    Account,
    Config,
    Egress,
    Listing,
    Metrics,
    Postgres,
    Push,
    RateLimit,
    Runners,
    Storage,
)
from exporter.config.section import Section, written
from exporter.config.slices import Slice

EXAMPLE: Final = """\
accounts:
  - name: studio
    token_file: /run/secrets/comfycontrol
    rate_limit: {requests: 40, per: 10s, cooldown: 10s, reserve: 0.25}
    max_streams: 500
    listing: {interval: 5s, lookback: 24h, tags: []}
  - name: render-farm
    token: ${RENDER_FARM_TOKEN}
    workflows: [a1b2c3d4-e5f6-7890-abcd-ef1234567890]
    workflow_files: [/etc/comfycontrol/*.yml]
    push: {token_file: /run/secrets/push}
    runners: {interval: 1m, by_tag: true, tags: 50}
metrics:
  per_workflow_series: 500
  node_types: 200
  exception_types: 50
  run_duration_buckets: [1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200]
  time_to_start_buckets: [0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 14400]
  slices:
    - {label: team, from: tag, match: "^team[:=](.+)$", values: 20, default: none}
    - {label: template, from: name, match: "^([a-z0-9-]+)", values: 50, default: other}
"""
"""A file with every section in it. A test keeps it valid."""

_SMALLEST: Final = """\
accounts:
  - name: studio
    token: ${COMFYCONTROL_TOKEN}
    listing: {}
"""

_SECTIONS: Final[Mapping[str, type[Section]]] = {
    "The file": Config,
    "`accounts[]`": Account,
    "`accounts[].rate_limit`": RateLimit,
    "`accounts[].listing`": Listing,
    "`accounts[].push`": Push,
    "`accounts[].runners`": Runners,
    "`metrics`": Metrics,
    "`metrics.slices[]`": Slice,
    "`storage`": Storage,
    "`storage.postgres`": Postgres,
    "`egress`": Egress,
}

_MORE: Final[Mapping[type[Section], str]] = {
    Runners: """\
Of a runner its status and its tags are read, and nothing else: its `headers` hold your secrets. An
account needs none of this to be up. Where the service refuses to list runners, these series are
absent, and nothing else is missing.""",
    Push: "What to send, and what is answered: [push.md](push.md).",
    RateLimit: """\
One service is one address, however `base_url` spells it: upper or lower case, with a dot at the
end, `127.1` or `2130706433`, `[::1]` or `localhost`. Ports 80 and 443 are one address too, as both
schemes lead to the same edge; other ports are services of their own. The label `address` of the
metrics shows its plain form, whatever accounts say: `api.comfycontrol.app`, `localhost:8080` for
all names and numbers of this machine, `[2001:db8::1]:8080`. Names that only DNS knows to be the
same are two.

A start that does not know what was asked before (the first, one without the storage folder of the
one before, one after a reboot) asks in its first `per` only what `requests` leaves beside our own
share, evenly: 10 with the defaults, none with a `reserve` of 0. After that, and after every other
start, it takes the share at once.""",
}
"""Where there is more about a section."""

_HEAD: Final = f"""\
# Configuration

<!-- Written by `python -m exporter.config.reference`: change the models, not this page. -->

Without a file, `{environment.TOKEN}` is enough: the exporter follows that whole account, with
the defaults below. With `--config.file`, the file alone counts, and variables only where it names
them.

```yaml
{EXAMPLE}```

The smallest file that does something:

```yaml
{_SMALLEST}```

`comfycontrol-exporter check-config FILE` reads a file as the exporter would, and asks the service
nothing. With `--online` it also asks once for each account, and says whether address and token are
right.
"""

_TAIL: Final = f"""\
## How values are written

- **Durations** are whole numbers with units, the larger first: `500ms`, `5s`, `2m`, `1h30m`, `24h`,
  `7d`. A number without a unit is refused.
- **`${{VAR}}`** in any text is replaced from the environment; a variable that is not set is an
error.
  `$$` is a dollar sign. This happens after the YAML is read, so that a value is only ever a value.
  Regular expressions (`match`) stay as they are written.
  Inside `{{…}}` and `[…]`, YAML wants quotes around it: `{{token: "${{VAR}}"}}`.
- **Paths** that are relative start from the folder of the configuration file.
- **A key without a value** (`listing:`) is refused, because it could mean two things: `listing: {{}}`
  takes the defaults, and leaving the key out turns the section off.
- **YAML anchors** and the merge key `<<` work, so that accounts can share what they have in common.
  Tags (`!…`), a key that is there twice and a second document are refused.

## Secrets

A token is what goes into an HTTP header: one line of visible ASCII, at most 16 KiB. White space
around it is taken off. A token file must be readable when the configuration is loaded. It is read
again when it changes and when the service refuses the token, so a rotated token needs no restart.

No message repeats a value from the file or the environment, so that a token in the wrong place
stays unseen: the line number says where to look. A name that could itself be a token is `(not shown)`.

## Reloading

A running exporter reads its configuration again on **SIGHUP**; on **`POST /-/reload`**, where it
was started with `--web.enable-lifecycle`; and, with **`--config.watch`**, whenever the file has
changed. It checks every 2 s and waits until the file was the same twice, so a change needs up to
some 4 s.

- What stays the same goes on undisturbed. Accounts and ids come and go, tokens, limits, `listing`
and
  `max_streams` change, and no other stream is touched. Only an account whose `base_url` changes
  starts over.
- An account that is taken out vanishes from `/metrics`. What was counted of it stays in the ledger:
when it
  comes back its counters go on where they were, and what ended meanwhile is counted from the list.
- An id that nothing names any more is followed on by the list, where there is one, and else dropped
  (`comfycontrol_workflows_dropped_total{{reason="withdrawn"}}`).
  One that is named again is followed again. A pushed id stays when its entry here goes.
- Wider `tags` or a longer `lookback` find what is open from then on. Of what had ended
  before, only what the newest pages of the list still show is counted.
- Changed buckets restart that histogram at 0.
- Changed slices make new series and lose no total: [slices.md](slices.md#when-slices-change).
- **A file with a error changes nothing.** The old configuration stays in use,
  `comfycontrol_exporter_config_last_reload_successful` turns 0, the log names every error, and
  `POST /-/reload` answers 500 with them. It answers 503 while another such request is still at
  work.

SIGHUP and `POST /-/reload` read the file of `--web.config.file` along with it, and change something
only where both are right. Token files, files of workflow ids, and the files of `--web.config.file`
are watched always. Flags are read at the start alone.

## Environment variables

| variable | meaning |
| --- | --- |
| `{environment.TOKEN}` | API token. Without `--config.file` it makes one account, `default`, that
is listed with the defaults. |
| `{environment.TOKEN_FILE}` | Instead of it, a file that holds the token alone; it is read again
when it changes, or the service refuses the token. |
| `{environment.BASE_URL}` | Address of the service for that account. Default, also when empty: `{Account.model_fields["base_url"].default}`. |
| any other | Only where the file says `${{NAME}}`. |

## Exit codes

| code | `check-config` | the exporter |
| --- | --- | --- |
| 0 | the file is right; warnings may be listed. `--online`: and so is every account | stopped as
asked |
| 1 | every error is listed, with line, key, reason and hint. `--online`: or an account is wrong |
the same, and nothing was started |
| 2 | not used | it could not listen on its address |

## What is refused besides wrong values

- An unknown key; the nearest known one is suggested.
- Two accounts of one name.
- An account without {alternatives(f"`{way}`" for way in WAYS_IN)}: it would do nothing.
- An account with both `token` and `token_file`, or with neither.
- Different `rate_limit`s for accounts at one address: the service counts by address.
- More than four slices, two of one label, labels that clash, and more combinations than
  `metrics.max_slice_combinations`.
- A file above 1 MiB, or one that is not UTF-8.

Allowed with a warning: plain HTTP to another machine, a limit above the one that the service
documents, and more than 10,000 streams over all accounts.
"""  # noqa: E501 - a row of a table is one line


def page() -> str:
    """The page as Markdown."""
    parts = [_HEAD]
    definitions: dict[str, Any] = Config.model_json_schema()
    for title, section in _SECTIONS.items():
        schema = definitions if section is Config else definitions["$defs"][section.__name__]
        parts.append("\n".join(_section(title, section, schema["properties"])))
    return "\n".join([*parts, _TAIL])


def _section(
    title: str, section: type[Section], properties: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
    yield f"## {title}\n"
    yield f"{section.__doc__ and _paragraphs(section.__doc__)}\n"
    if section in _MORE:
        yield f"{_MORE[section]}\n"
    yield "| key | type | default | meaning |"
    yield "| --- | --- | --- | --- |"
    for name, field in section.file_keys().items():
        schema = properties[name]
        cells = (f"`{name}`", _kind(field, schema), _default(field, schema), field.description)
        yield f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in cells)} |"
    yield ""


def _paragraphs(text: str) -> str:
    return "\n".join(line.strip() for line in text.strip().splitlines())


def _kind(field: FieldInfo, schema: Mapping[str, Any]) -> str:
    """What is accepted, in words."""
    for metadata in field.metadata:
        accepted = getattr(metadata, "accepted", None)
        if isinstance(accepted, str):
            return accepted
    return _kind_of(schema)


def _kind_of(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return "section"
    if schema["type"] == "array":
        return f"list of {_kind_of(schema['items'])}s"
    kinds = {"password": "secret", "path": "path", "uri": "URL"}
    if schema["type"] == "string":
        return kinds.get(
            schema.get("format", ""), "id" if "{8}" in schema.get("pattern", "") else "text"
        )
    return str(schema["type"])


def _default(field: FieldInfo, schema: Mapping[str, Any]) -> str:
    if "default" in schema:
        return f"`{written(schema['default'])}`"
    if field.is_required():
        return "required"
    return "absent" if field.default_factory is None else "its defaults"


if __name__ == "__main__":
    sys.stdout.write(page())
