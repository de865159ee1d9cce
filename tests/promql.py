"""What is wrong with an expression, without asking a Prometheus: for dashboards and for alerts.

It follows the labels through an expression, so that it finds what Prometheus itself never says:
a metric that does not exist, a matcher on a label that the metric lacks, a `by` or `on` over a
label that an inner `sum` has taken away.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import promql_parser as promql
import yaml

from exporter.metrics.catalogue import CATALOGUE, Metric

Labels = frozenset[str]
Known = Mapping[str, Labels]
"""The labels of every series that there is, by its name."""

TARGET: Final = frozenset({"job", "instance"})
"""What Prometheus adds to everything that it scrapes."""

_FOREIGN: Final[dict[str, Labels]] = {
    # Made by Prometheus for each scrape.
    "up": TARGET,
    "scrape_duration_seconds": TARGET,
    "scrape_samples_scraped": TARGET,
    # Made by the client library for each process.
    "process_start_time_seconds": TARGET,
    "process_cpu_seconds_total": TARGET,
    "process_resident_memory_bytes": TARGET,
    "process_open_fds": TARGET,
    "process_max_fds": TARGET,
    # Made by Prometheus for each alert, with what the alert's own expression leaves.
    "ALERTS": TARGET
    | {"alertname", "alertstate", "severity", "reason"}
    | {"account", "node_type", "status", "label", "series", "whose"},
}
_FOREIGN["ALERTS_FOR_STATE"] = _FOREIGN["ALERTS"] - {"alertstate"}


_VARIABLES: Final = {
    "$account": ".*",
    "$__rate_interval": "1m",
    "$__interval": "15s",
    "$__interval_ms": "15000",
    "$__range": "1h",
    "$window": "15m",
    "$by": "account",
}


def filled(expression: str, **variables: str) -> str:
    """An expression of a dashboard as Grafana sends it: with its variables' values."""
    values = _VARIABLES | {f"${name}": value for name, value in variables.items()}
    # The longest first: one name may begin another.
    for name in sorted(values, key=len, reverse=True):
        expression = expression.replace(name, values[name])
    if re.search(r"\$(?!\d)", expression):  # `$1` is a group of label_replace
        raise WrongExpressionError(f"a variable that nobody knows, in: {expression}")
    return expression


class WrongExpressionError(AssertionError):
    """What is wrong, and with which expression."""


def exported() -> dict[str, Labels]:
    """The series of the catalogue, as Prometheus stores them, and those that others make."""
    series = {name: labels for metric in CATALOGUE for name, labels in _series_of(metric)}
    return {**series, **_FOREIGN}


def native() -> dict[str, Labels]:
    """Histograms where a server has made native ones of them."""
    return {
        metric.name: TARGET | frozenset(metric.labels)
        for metric in CATALOGUE
        if metric.type == "histogram"
    }


def _series_of(metric: Metric) -> Iterable[tuple[str, Labels]]:
    labels = TARGET | frozenset(metric.labels)
    if metric.type != "histogram":
        yield metric.name, labels
        return
    yield f"{metric.name}_bucket", labels | {"le"}
    yield f"{metric.name}_count", labels
    yield f"{metric.name}_sum", labels


def recorded(rules: Path, known: Known) -> dict[str, Labels]:
    """The series that a file of recording rules makes; a rule may use those above it."""
    made: dict[str, Labels] = {}
    for group in yaml.safe_load(rules.read_text("utf-8"))["groups"]:
        for rule in group["rules"]:
            if "record" in rule:
                labels = labels_of(rule["expr"], {**known, **made})
                made[rule["record"]] = labels | frozenset(rule.get("labels", ()))
    return made


def labels_of(expression: str, known: Known) -> Labels:
    """The labels that the expression's result can have.

    Raises:
        WrongExpressionError: it does not parse, or names what there is not.
    """
    try:
        tree = promql.parse(expression)
    except ValueError as error:
        raise WrongExpressionError(f"{error}, in: {expression}") from None
    try:
        return _labels(tree, known)
    except WrongExpressionError as error:
        raise WrongExpressionError(f"{error}, in: {expression}") from None


def metrics_of(expression: str) -> set[str]:
    """The names of all series that an expression asks for."""
    names: set[str] = set()

    def visit(node: promql.Expr) -> None:
        selector = node.vector_selector if isinstance(node, promql.MatrixSelector) else node
        if isinstance(selector, promql.VectorSelector) and selector.name:
            names.add(selector.name)

    promql.walk(promql.parse(expression), visit)
    return names


_COMPARISONS: Final = frozenset({"==", "!=", ">", "<", ">=", "<="})


def _filters(node: promql.Expr) -> bool:
    """Whether it is a comparison that leaves series out."""
    return (
        isinstance(node, promql.BinaryExpr)
        and str(node.op) in _COMPARISONS
        and not (node.modifier is not None and node.modifier.return_bool)
    )


def _asks(node: promql.Expr) -> bool:
    """Whether there is any series in it."""
    return bool(metrics_of(node.prettify()))


def unfiltered(expression: str) -> str:
    """An expression without its thresholds: where this finds nothing, the whole can never match.

    Each comparison gives way to what it compares, joined with the other side where that is a
    vector, so that a join on labels that never agree is found as well. What `unless` takes away
    is left out, and `absent` gives way to what is absent.
    """

    def loosen(node: promql.Expr) -> promql.Expr | None:
        if isinstance(node, promql.Call) and node.func.name == "absent":
            argument: promql.Expr = node.args[0]
            return argument
        if not isinstance(node, promql.BinaryExpr):
            return None
        if str(node.op) == "unless":
            return node.lhs
        if not _filters(node):
            return None
        if not _asks(node.rhs):
            return node.lhs
        matching = str(node.modifier) if node.modifier is not None else ""
        joined = f"({node.lhs.prettify()}) and {matching} ({node.rhs.prettify()})"
        return promql.parse(joined)

    return promql.transform(promql.parse(expression), post_visit=loosen).prettify()


def sides(expression: str) -> list[str]:
    """Everything in an expression that is compared, joined or taken away, without thresholds."""
    found: dict[str, None] = {}

    def visit(node: promql.Expr) -> None:
        if not isinstance(node, promql.BinaryExpr):
            return
        if str(node.op) in {"and", "or", "unless"} or _filters(node):
            for side in (node.lhs, node.rhs):
                if _asks(side):
                    found[unfiltered(side.prettify())] = None

    promql.walk(promql.parse(expression), visit)
    return list(found)


def _labels(node: promql.Expr, known: Known) -> Labels:
    handle = _BY_KIND.get(type(node))
    if handle is None:
        raise WrongExpressionError(f"{type(node).__name__} is not understood here")
    return handle(node, known)


def _of_selector(node: promql.VectorSelector, known: Known) -> Labels:
    if node.name is None:
        raise WrongExpressionError("a selector without a metric's name")
    if node.name not in known:
        raise WrongExpressionError(f"there is no metric {node.name}")
    labels = known[node.name]
    _need({matcher.name for matcher in node.matchers.matchers}, labels, f"{node.name} has no")
    return labels


def _of_aggregation(node: promql.AggregateExpr, known: Known) -> Labels:
    inner = _labels(node.expr, known)
    if node.param is not None:
        _labels(node.param, known)
    picks = str(node.op) in {"topk", "bottomk"}  # these give back series as they are
    if node.modifier is None:
        return inner if picks else frozenset()
    named = frozenset(node.modifier.labels)
    _need(named, inner, f"{node.op} over what has no")
    if picks:
        return inner
    return named if node.modifier.type == promql.AggModifierType.By else inner - named


def _of_operation(node: promql.BinaryExpr, known: Known) -> Labels:
    left, right = _labels(node.lhs, known), _labels(node.rhs, known)
    matching = node.modifier.matching if node.modifier else None
    by_name = matching is not None and matching.type == promql.LabelModifierType.Include
    named = frozenset(matching.labels) if matching else frozenset()
    if matching is not None:
        _need(named, left, f"left of {node.op} there is no")
        _need(named, right, f"right of {node.op} there is no")
    match str(node.op):
        case "and" | "unless":
            return left
        case "or":
            return left | right
    if isinstance(node.lhs, promql.NumberLiteral) or isinstance(node.rhs, promql.NumberLiteral):
        return left | right
    extra = frozenset(node.modifier.group_labels or ()) if node.modifier else frozenset()
    card = node.modifier.card if node.modifier else promql.VectorMatchCardinality.OneToOne
    if card == promql.VectorMatchCardinality.ManyToOne:
        _need(extra, right, f"right of {node.op} there is no")
        return left | extra
    if card == promql.VectorMatchCardinality.OneToMany:
        _need(extra, left, f"left of {node.op} there is no")
        return right | extra
    if by_name:
        return named
    return (left | right) - named


def _of_call(node: promql.Call, known: Known) -> Labels:
    arguments = [_labels(argument, known) for argument in node.args]
    labels = frozenset[str]().union(*arguments)
    match node.func.name:
        case "histogram_quantile":
            # Native histograms have no buckets of their own.
            if metrics_of(node.prettify()).isdisjoint(native()):
                _need({"le"}, labels, "histogram_quantile over what has no")
            return labels - {"le"}
        case "label_replace":
            source = _text(node.args[3])
            _need({source} - {""}, labels, "label_replace from what has no")
            return labels | {_text(node.args[1])}
        case "absent" | "absent_over_time":
            return labels
        case "scalar" | "vector" | "time":
            return frozenset()
    return labels


def _text(node: promql.Expr) -> str:
    if not isinstance(node, promql.StringLiteral):
        raise WrongExpressionError("a text was expected")
    return node.val


def _need(wanted: Iterable[str], there: Labels, complaint: str) -> None:
    missing = sorted(set(wanted) - there)
    if missing:
        raise WrongExpressionError(f"{complaint} label {', '.join(missing)}")


def _nothing(_node: Any, _known: Known) -> Labels:
    return frozenset()


_BY_KIND: Final[Mapping[type, Callable[[Any, Known], Labels]]] = {
    promql.VectorSelector: _of_selector,
    promql.MatrixSelector: lambda node, known: _of_selector(node.vector_selector, known),
    promql.SubqueryExpr: lambda node, known: _labels(node.expr, known),
    promql.ParenExpr: lambda node, known: _labels(node.expr, known),
    promql.UnaryExpr: lambda node, known: _labels(node.expr, known),
    promql.AggregateExpr: _of_aggregation,
    promql.BinaryExpr: _of_operation,
    promql.Call: _of_call,
    promql.NumberLiteral: _nothing,
    promql.StringLiteral: _nothing,
}
