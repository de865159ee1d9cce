"""The page with the configuration in use, and the links of the pages."""

import re
from collections.abc import Iterable, Mapping
from typing import Final

import yaml

from exporter.config import Config
from exporter.config.tokens import MASK

CONFIG_PATH: Final = "/config"
DOCUMENTATION_URL: Final = "https://github.com/comfycontrol/comfycontrol-exporter/tree/main/docs"

_SECRET_KEY: Final = re.compile(
    r"(?:^|_)(?:token|password|passwd|secret|key|credentials?)$", re.IGNORECASE
)
_USERINFO: Final = re.compile(r"(?<=://)[^/?#\s]*@")


def config_page(config: Config) -> str:
    """The configuration in use as YAML, with defaults, and `<secret>` for each secret."""
    data = config.model_dump(mode="json", exclude_none=True)
    for dumped, account in zip(data["accounts"], config.accounts, strict=True):
        if account.token_file is not None:
            # The model reads the token from its file; a configuration with both keys would be
            # refused.
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
    """Plain data without anything that could be a secret.

    Secrets have their own type, which is dumped as a mask. This is a second protection: for a key
    that may get another type one day, and for secrets in URLs.
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
    """Writes lists of numbers on one line, 60.0 as 60, and no anchors for repeated values."""

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
