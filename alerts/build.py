"""Writes the rule files: `python -m alerts.build`.

    thresholds.yml + rules.py  →  recording.yml, alerts.yml, the tables in docs/alerts.md

With `--helm PREFIX` it prints templates instead, with `{{ PREFIX.… }}` where the thresholds go: a
chart whose values hold what `thresholds.yml` holds renders the same rules.
"""

import argparse
import difflib
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, Final, Protocol

import yaml

from alerts.recordings import RECORDINGS
from alerts.rules import ALERTS, Alert, Rule
from exporter.config.models import Metrics

FOLDER: Final = Path(__file__).parent
THRESHOLDS: Final = FOLDER / "settings" / "thresholds.yml"
EXAMPLE: Final = FOLDER.parent / "examples" / "monitoring" / "alertmanager.yml"
PAGE: Final = FOLDER.parent / "docs" / "alerts.md"

WHOLE: Final = {
    "in_a_row": (2, 100),
    "from_hour": (0, 22),
    "to_hour": (2, 24),
    "first_day": (0, 6),
    "last_day": (0, 6),
}
"""Numbers that are no shares, with the least and the most."""

SEVERITIES: Final = ("critical", "warning", "info")

_HEAD: Final = "# Generated from alerts/settings/thresholds.yml by `make alerts`. Do not edit.\n"
_PLACE: Final = re.compile(r"\[\[([A-Za-z_.]+)\]\]")
_LABEL: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)?", re.ASCII)
_WINDOW: Final = re.compile(r"(?<=\[)\d+[smhd](?=\])")
_DURATION: Final = re.compile(r"(\d+)([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}

Thresholds = Mapping[str, Any]


class ThresholdsError(Exception):
    """What is wrong with the thresholds; one line for each fault."""


class Rendering(Protocol):
    """How placeholders for thresholds and the text around them are rendered."""

    def value(self, path: str) -> str:
        """The text that replaces a placeholder."""
        ...

    def text(self, text: str) -> str:
        """The rendered form of text without placeholders."""
        ...

    def optional(self, path: str, rules: str) -> str:
        """Rules that are left out if the value of a placeholder is false or empty."""
        ...


class Values:
    """Puts the thresholds themselves in.

    `window` may change the windows of range selectors: tests look at seconds, not hours.
    """

    def __init__(
        self, thresholds: Thresholds, window: Callable[[str], str] = lambda window: window
    ) -> None:
        check(thresholds)
        self._leaves = dict(leaves(thresholds))
        self._window = window

    def value(self, path: str) -> str:
        """The number or word."""
        return str(self._leaves[path])

    def text(self, text: str) -> str:
        """The same, but for its windows."""
        return _WINDOW.sub(lambda found: self._window(found[0]), text)

    def optional(self, path: str, rules: str) -> str:
        """All or nothing."""
        return rules if self._leaves[path] else ""


class HelmTemplate:
    """Inserts expressions for Helm; `prefix` is where the thresholds are: `.Values.rules`."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def value(self, path: str) -> str:
        """A template's action."""
        return f"{{{{ {self._prefix}.{path} }}}}"

    def text(self, text: str) -> str:
        """Prometheus' own templates, so that Helm leaves them alone."""
        return re.sub(r"\{\{|\}\}", lambda found: f'{{{{ "{found[0]}" }}}}', text)

    def optional(self, path: str, rules: str) -> str:
        """A condition."""
        return f"{{{{- if {self._prefix}.{path} }}}}\n{rules}{{{{- end }}}}\n"


# Thresholds -----------------------------------------------------------------------------------


def load(path: Path = THRESHOLDS) -> dict[str, Any]:
    """Read a file of thresholds."""
    document = yaml.safe_load(path.read_text("utf-8"))
    if not isinstance(document, dict):
        raise ThresholdsError(f"{path} is not a mapping")
    return document


def leaves(thresholds: Thresholds, path: str = "") -> Iterator[tuple[str, object]]:
    """Every number and word, by its dotted path."""
    for key, value in thresholds.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def used() -> set[str]:
    """The paths that the rules ask for."""
    texts = [recording.expr for recording in RECORDINGS]
    paths = {f"settings.{name}" for name in ("grafana", "runbooks", "exporter", "slice")}
    for alert in ALERTS:
        paths.add(f"alerts.{alert.name}.enabled")
        for rule in alert.rules:
            place = place_of(alert, rule)
            paths |= {f"{place}.for", f"{place}.severity"}
            texts += [rule.expr, rule.summary, rule.description]
    return paths.union(*(_PLACE.findall(text) for text in texts))


def check(thresholds: Thresholds) -> None:
    """Say everything that is wrong with thresholds.

    Raises:
        ThresholdsError: a key is missing or not known, or a value cannot be.
    """
    found = dict(leaves(thresholds))
    known = used()
    faults = list(_faults_of_names(found.keys(), known))
    for path, value in found.items():
        if path in _sections(known):
            faults.append(f"{path} is {value!r}; it must be a section with keys")
        elif path in known and (fault := _fault_of(path, value)):
            faults.append(f"{path} is {value!r}; it must be {fault}")
    if not faults:
        missed = 1 - float(thresholds["objective"]["share"])
        burns = thresholds["alerts"]["ComfyControlTimeToStartTooLong"]
        faults += [
            f"alerts.ComfyControlTimeToStartTooLong.{reason}.burn can never be reached: "
            f"{burns[reason]['burn']} times {missed:.4g} is more than everything"
            for reason in ("fast", "slow")
            if burns[reason]["burn"] * missed >= 1
        ]
        faults += _faults_of_usual(thresholds["alerts"]["ComfyControlNothingFinished"])
    if faults:
        raise ThresholdsError("\n".join(faults))


def warnings(thresholds: Thresholds) -> Iterator[str]:
    """What of thresholds that are right can still keep an alert silent."""
    alert = "ComfyControlTimeToStartTooLong"
    within = float(thresholds["objective"]["starts_within"])
    buckets: tuple[float, ...] = Metrics.model_fields["time_to_start_buckets"].default
    if within in buckets or not thresholds["alerts"][alert]["enabled"]:
        return
    below = [bucket for bucket in buckets if bucket < within][-1:]
    above = [bucket for bucket in buckets if bucket > within][:1]
    nearest = " and ".join(f"{bucket:g}" for bucket in below + above)
    yield (
        f"objective.starts_within is {within:g}, which is none of the default buckets; "
        f"the nearest: {nearest}. {alert} stays silent unless {within:g} is one of "
        "metrics.time_to_start_buckets in the exporter's configuration"
    )


def _faults_of_names(found: AbstractSet[str], known: AbstractSet[str]) -> Iterator[str]:
    """What is missing and what is not known, once for all that a section holds."""
    unknown = {_outermost(path, _sections(known)) for path in found - known - _sections(known)}
    missing = {
        _outermost(path, _sections(found))
        for path in known - found
        if not _sections({path}) & found  # said already: it is a value and not a section
    }
    faults = []
    for path in sorted(unknown):
        section = path.rpartition(".")[0]
        beside = [other for other in sorted(missing) if other.rpartition(".")[0] == section]
        meant = difflib.get_close_matches(path, beside, n=1)
        missing -= set(meant)
        faults.append(
            f"{path} is not known" + "".join(f"; did you mean {other}?" for other in meant)
        )
    yield from (f"{path} is missing" for path in sorted(missing))
    yield from faults


def _sections(paths: AbstractSet[str]) -> set[str]:
    """The sections that these paths go through."""
    return {path[: dot.start()] for path in paths for dot in re.finditer(r"\.", path)}


def _outermost(path: str, sections: AbstractSet[str]) -> str:
    """The first part of a path that is in none of these sections, with what leads there."""
    parts = path.split(".")
    ways = (".".join(parts[: length + 1]) for length in range(len(parts)))
    return next((way for way in ways if way not in sections), path)


def _faults_of_usual(usual: Thresholds) -> Iterator[str]:
    """What of the usual hours and days would never match, whatever happens."""
    where = "alerts.ComfyControlNothingFinished"
    if usual["to_hour"] - usual["from_hour"] < 2:
        # A whole hour of them must have passed, and then some.
        yield (
            f"{where}.to_hour is {usual['to_hour']}; it must be at least two hours after from_hour "
            f"({usual['from_hour']}): usual hours over midnight cannot be said"
        )
    if usual["last_day"] < usual["first_day"]:
        yield (
            f"{where}.last_day is {usual['last_day']}; it must not be before first_day "
            f"({usual['first_day']}): day 0 is Sunday, and days over Saturday cannot be said"
        )


def _fault_of(path: str, value: object) -> str:
    """What a value must be, if it is not; otherwise empty."""
    key = path.rpartition(".")[2]
    if path == "settings.slice":
        fits = isinstance(value, str) and _LABEL.fullmatch(value) is not None
        must = "the label of a slice, or empty"
    elif path.startswith("settings."):
        fits, must = isinstance(value, str) and bool(value), "text"
    elif key == "enabled":
        fits, must = isinstance(value, bool), "true or false"
    elif key == "for":
        fits = isinstance(value, str) and _DURATION.fullmatch(value) is not None
        must = "a duration such as 5m"
    elif key == "severity":
        fits, must = value in SEVERITIES, "one of " + ", ".join(SEVERITIES)
    else:
        fits = isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
        must = "a number that is not negative"
        if key == "share":
            fits, must = fits and 0 < float(str(value)) < 1, "a number between 0 and 1"
        elif key in WHOLE:
            least, most = WHOLE[key]
            fits = isinstance(value, int) and fits and least <= value <= most
            must = f"a whole number from {least} to {most}"
    return "" if fits else must


def place_of(alert: Alert, rule: Rule) -> str:
    """Where the rule's own thresholds are."""
    return f"alerts.{alert.name}" + (f".{rule.reason}" if rule.reason else "")


def seconds(duration: str) -> int:
    """A duration such as `15m` in seconds."""
    found = _DURATION.fullmatch(duration)
    if found is None:
        raise ValueError(duration)
    return int(found[1]) * _SECONDS[found[2]]


# Rule files -----------------------------------------------------------------------------------


def recording_rules(rendering: Rendering) -> str:
    """The file of recording rules."""
    rules = "".join(
        _item({"record": recording.name, "expr": fill(recording.expr, rendering)})
        for recording in RECORDINGS
    )
    return _file("comfycontrol-recording", rules)


def alerting_rules(rendering: Rendering) -> str:
    """The file of alerts."""
    rules = "".join(
        rendering.optional(
            f"alerts.{alert.name}.enabled",
            "".join(_optional_item(alert, rule, rendering) for rule in alert.rules),
        )
        for alert in ALERTS
    )
    return _file("comfycontrol-alerts", rules)


def _optional_item(alert: Alert, rule: Rule, rendering: Rendering) -> str:
    item = _item(_alerting_rule(alert, rule, rendering))
    return rendering.optional("settings.slice", item) if rule.by_slice else item


def fill(text: str, rendering: Rendering) -> str:
    """Text with its placeholders replaced."""
    parts = _PLACE.split(text)
    # Alternately outside and inside of placeholders.
    return "".join(
        rendering.value(part) if index % 2 else rendering.text(part)
        for index, part in enumerate(parts)
    )


def _alerting_rule(alert: Alert, rule: Rule, rendering: Rendering) -> dict[str, Any]:
    place = place_of(alert, rule)
    chosen = "{{ with $labels.account }}?var-account={{ . | urlquery }}{{ end }}"
    labels = {"severity": fill(f"[[{place}.severity]]", rendering)}
    if rule.reason:
        labels["reason"] = rule.reason
    if rule.by_slice:
        chosen += "&var-by=[[settings.slice]]"
        # Under a name that does not depend on the slice: for boards, and for anyone who routes.
        labels["whose"] = fill("{{ $labels.[[settings.slice]] }}", rendering)
    return {
        "alert": alert.name,
        "expr": fill(rule.expr, rendering),
        "for": fill(f"[[{place}.for]]", rendering),
        "labels": labels,
        "annotations": {
            "summary": fill(rule.summary, rendering),
            "description": fill(rule.description, rendering),
            "runbook_url": fill(f"[[settings.runbooks]]/{alert.name}.md", rendering),
            "dashboard_url": fill(f"[[settings.grafana]]/d/{alert.board}{chosen}", rendering),
        },
    }


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as such."""


def _write_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, "|" if "\n" in text else None)


_Dumper.add_representer(str, _write_text)


def _item(rule: Mapping[str, Any]) -> str:
    text = yaml.dump(rule, Dumper=_Dumper, sort_keys=False, width=10_000, allow_unicode=True)
    lines = text.splitlines()
    return "".join(
        f"{'      - ' if index == 0 else '        '}{line}\n" for index, line in enumerate(lines)
    )


def _file(group: str, rules: str) -> str:
    return f"{_HEAD}groups:\n  - name: {group}\n    rules:\n{rules}"


# The page -------------------------------------------------------------------------------------

_BEGIN: Final = "<!-- {name}: generated by `make alerts` -->"
_END: Final = "<!-- end of {name} -->"


def page(text: str, thresholds: Thresholds) -> str:
    """`docs/alerts.md` with its tables as they should be."""
    for name, table in (("alerts", _alert_table), ("recording rules", _recording_table)):
        begin, end = _BEGIN.format(name=name), _END.format(name=name)
        head, _, rest = text.partition(begin)
        _, _, tail = rest.partition(end)
        text = f"{head}{begin}\n{table(thresholds)}{end}{tail}"
    return text


def _alert_table(thresholds: Thresholds) -> str:
    rendering = Values(thresholds)
    lines = ["| alert | fires when | for | severity |", "| --- | --- | --- | --- |"]
    for alert in ALERTS:
        off = "" if thresholds["alerts"][alert.name]["enabled"] else " (off)"
        link = f"[{alert.name}](runbooks/{alert.name}.md){off}"
        for index, rule in enumerate(alert.rules):
            place = place_of(alert, rule)
            which = f"`{rule.reason}`: " if rule.reason else ""
            lines.append(
                f"| {link if index == 0 else ''} | {which}{fill(rule.when, rendering)} "
                f"| {rendering.value(f'{place}.for')} | {rendering.value(f'{place}.severity')} |"
            )
    return "\n".join(lines) + "\n"


def _recording_table(thresholds: Thresholds) -> str:
    del thresholds
    return "".join(f"- `{recording.name}`\n" for recording in RECORDINGS)


# The command ----------------------------------------------------------------------------------


def rule_files(rendering: Rendering) -> dict[str, str]:
    """Every rule file by its name."""
    return {
        "recording.yml": recording_rules(rendering),
        "alerts.yml": alerting_rules(rendering),
    }


def written(folder: Path, files: Mapping[str, str]) -> bool:
    """Write these texts into a folder, by their names; False, and it has said why, if it cannot."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text, "utf-8")
    except OSError as error:
        sys.stderr.write(f"cannot write to {folder}: {error.strerror}\n")
        return False
    return True


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m alerts.build", description=__doc__)
    parser.add_argument("--thresholds", type=Path, default=THRESHOLDS, metavar="FILE")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="write only the rule files, and there"
    )
    parser.add_argument("--helm", metavar="PREFIX", help="print templates, as for .Values.rules")
    arguments = parser.parse_args(argv)
    if arguments.helm:
        sys.stdout.write("---\n".join(rule_files(HelmTemplate(arguments.helm)).values()))
        return 0
    try:
        thresholds = load(arguments.thresholds)
        rendering = Values(thresholds)
    except ThresholdsError as error:
        sys.stderr.write(f"{arguments.thresholds}:\n{error}\n")
        return 1
    for warning in warnings(thresholds):
        sys.stderr.write(f"{arguments.thresholds}: warning: {warning}\n")
    folder: Path = arguments.output or FOLDER
    if not written(folder, rule_files(rendering)):
        return 1
    if arguments.output is None:
        PAGE.write_text(page(PAGE.read_text("utf-8"), thresholds), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
