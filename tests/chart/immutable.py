"""What an API server refuses to change in an object that is there.

Of Kubernetes' own validation (`pkg/apis/*/validation`), for the kinds that the chart makes. A
release must not change any of it for values that stay: `helm upgrade` would fail in the middle.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

Object = Mapping[str, Any]

CHANGEABLE_OF_STATEFUL_SETS: Final = frozenset(
    {
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    }
)
"""Everything else in its `spec` stays as it was made."""

IMMUTABLE: Final[Mapping[str, Sequence[tuple[str, ...]]]] = {
    "Service": [("spec", "clusterIP"), ("spec", "clusterIPs")],
    "Secret": [("type",)],
    "PersistentVolumeClaim": [("spec", "accessModes"), ("spec", "storageClassName")],
    "Pod": [("spec",)],
}
"""By kind, what cannot be changed once it has a value."""


def refused(before: Sequence[Object], after: Sequence[Object]) -> list[str]:
    """Each change that the API server would refuse: kind, name and place.

    An object of another name is another object, and hooks are made again each time.
    """
    known = {_key(o): o for o in before}
    return [
        f"{o['kind']} {o['metadata']['name']}: {place}"
        for o in after
        if _key(o) in known and not _is_hook(o)
        for place in _changed(known[_key(o)], o)
    ]


def _changed(before: Object, after: Object) -> Iterator[str]:
    if before["kind"] == "StatefulSet":
        for key in sorted(before["spec"].keys() | after["spec"].keys()):
            is_changed = before["spec"].get(key) != after["spec"].get(key)
            if is_changed and key not in CHANGEABLE_OF_STATEFUL_SETS:
                yield f"spec.{key}"
        return
    for path in IMMUTABLE.get(before["kind"], ()):
        was, is_ = _at(before, path), _at(after, path)
        if was is not None and is_ != was:
            yield ".".join(path)


def _at(value: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _key(o: Object) -> tuple[str, str, str, str]:
    metadata = o["metadata"]
    return o["apiVersion"], o["kind"], metadata.get("namespace", ""), metadata["name"]


def _is_hook(o: Object) -> bool:
    return "helm.sh/hook" in o["metadata"].get("annotations", {})
