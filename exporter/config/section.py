"""The base of all sections of the file: all errors are reported, and never a value."""

import difflib
from collections.abc import Iterator, Mapping
from typing import ClassVar, NamedTuple, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from exporter.config.errors import INVALID, invalid, shown


class Broken(NamedTuple):
    """A broken rule: the path within the section, and the error."""

    keys: tuple[str | int, ...]
    error: PydanticCustomError


def absent_by_default(schema: JsonDict) -> None:
    """Make a schema match files: the key may be left out, but cannot be `null`."""
    schema.pop("default", None)
    kinds = schema.pop("anyOf", None)
    if isinstance(kinds, list) and isinstance(kinds[0], dict):
        schema.update(kinds[0])


class Section(BaseModel):
    """A frozen mapping of known keys.

    Pydantic checks a rule over several fields only if each field is valid. Here, errors of fields
    and of such rules are reported together, in our words, and without the input that pydantic's
    own errors contain.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, arbitrary_types_allowed=False
    )

    # For keys that are unknown in this section: where they belong. Filled in by the models.
    elsewhere: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def broken_rules(cls, given: Mapping[str, object]) -> Iterator[Broken]:
        """Rules over several keys, reported even if single values are wrong.

        Args:
            given: The section as it was written, not yet checked.
        """
        del given
        yield from ()

    @model_validator(mode="wrap")
    @classmethod
    def _raise_all_errors(cls, data: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        broken = list(cls.broken_rules(data)) if isinstance(data, Mapping) else []
        built: Self | None = None
        try:
            built = handler(data)
        except ValidationError as error:
            details = error.errors(include_url=False, include_input=False)
            broken += [Broken(detail["loc"], cls._explained(detail)) for detail in details]
        # Raised outside the handler above, so that the error with the input is not its context.
        if built is None or broken:
            lines = [InitErrorDetails(type=b.error, loc=b.keys, input=None) for b in broken]
            raise ValidationError.from_exception_data(cls.__name__, lines, hide_input=True)
        return built

    @classmethod
    def _explained(cls, detail: ErrorDetails) -> PydanticCustomError:
        """An error of pydantic in our words; our own errors stay as they are."""
        if detail["type"] == INVALID:
            return invalid(detail["ctx"]["reason"], detail["ctx"]["hint"])
        if not detail["loc"]:
            return invalid("is not a mapping of keys to values", cls._mapping_hint())
        name = str(detail["loc"][0])
        if detail["type"] == "extra_forbidden":
            return invalid("is an unknown key", cls._unknown_hint(name))
        example = example_of(name, cls.file_keys()[name])
        reason, hint = {
            "missing": ("is missing", f"Add `{example}`."),
            "string_type": (
                "is not text",
                "Put it in quotes: YAML reads 12, 1:30 and `on` otherwise.",
            ),
            "tuple_type": ("is not a list", f"Write a list: `{example}`."),
        }.get(detail["type"], ("is not valid", f"Write it as in `{example}`."))
        return invalid(reason, hint)

    @classmethod
    def file_keys(cls) -> dict[str, FieldInfo]:
        """Its fields, by their keys in the file."""
        return {field.alias or name: field for name, field in cls.model_fields.items()}

    @classmethod
    def _mapping_hint(cls) -> str:
        name, field = next(iter(cls.file_keys().items()))
        return f"Write keys below it, such as `{example_of(name, field)}`."

    @classmethod
    def _unknown_hint(cls, key: str) -> str:
        known = list(cls.file_keys())
        if shown(key) is not None:
            if near := difflib.get_close_matches(key.lower().replace("-", "_"), known, n=1):
                return f"Did you mean `{near[0]}`?"
            if key in cls.elsewhere:
                return f"`{key}` belongs under `{cls.elsewhere[key]}`."
        return f"Known here: {', '.join(f'`{name}`' for name in known)}."


def example_of(name: str, field: FieldInfo) -> str:
    """How a key is written in a file, such as `interval: 5s`."""
    return f"{name}: {written(field.examples[0] if field.examples else '…')}"


def written(value: object, *, within: bool = False) -> str:
    """A value as YAML on one line.

    Args:
        value: Text, a number, or lists and mappings of these.
        within: Whether it stands inside brackets, where `${VAR}` needs quotes.
    """
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{k}: {written(v, within=True)}' for k, v in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(written(entry, within=True) for entry in value)}]"
    return f'"{value}"' if within and "{" in str(value) else str(value)
