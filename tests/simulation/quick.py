"""Makes frozen classes as quick to create as others. They stay frozen.

A frozen dataclass sets each of its fields by a call of `object.__setattr__`. The exporter creates
some for each row that it reads, and in a run that was a twelfth of all that was computed.
"""

from __future__ import annotations

import dataclasses
from dataclasses import MISSING, Field
from typing import Any, Final

WORTHWHILE: Final = 3
"""Fields. With fewer nothing is gained."""


def make_quick(cls: type[Any]) -> None:
    """Let a class be created quickly, if it is frozen and everything is as it comes of itself."""
    parameters = getattr(cls, "__dataclass_params__", None)
    if parameters is None or not parameters.frozen or not parameters.init or cls.__subclasses__():
        return
    fields = dataclasses.fields(cls)
    if (
        "__slots__" not in vars(cls)
        or hasattr(cls, "__post_init__")
        or len(fields) < WORTHWHILE
        or not all(each.init and not each.kw_only for each in fields)
    ):
        return
    # While it is created, an object is one of a class that is not frozen.
    thawed = type(
        cls.__name__,
        (cls,),
        {
            "__slots__": (),
            "__setattr__": object.__setattr__,
            "__delattr__": object.__delattr__,
        },
    )
    names: dict[str, Any] = {"_cls": cls, "_thawed": thawed, "_set": object.__setattr__}
    parts = [_parameter(each, names) for each in fields]
    lines = [
        f"def __init__(self, {', '.join(parts)}):",
        " _set(self, '__class__', _thawed)",
        *(f" self.{each.name} = {_value(each)}" for each in fields),
        " self.__class__ = _cls",
    ]
    exec("\n".join(lines), names)
    cls.__init__ = names["__init__"]


def _parameter(field: Field[Any], names: dict[str, Any]) -> str:
    if field.default is not MISSING:
        names[f"_default_{field.name}"] = field.default
        return f"{field.name}=_default_{field.name}"
    if field.default_factory is not MISSING:
        names[f"_make_{field.name}"] = field.default_factory
        return f"{field.name}=_cls"  # nobody gives a class
    return field.name


def _value(field: Field[Any]) -> str:
    if field.default_factory is not MISSING:
        return f"_make_{field.name}() if {field.name} is _cls else {field.name}"
    return field.name
