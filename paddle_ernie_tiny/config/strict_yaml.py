"""YAML text of configurations: PyYAML's safe loader, but stricter where YAML would surprise people."""

from __future__ import annotations

import re
from itertools import chain
from typing import Any

import yaml

from ..errors import InputError

_MOST_VALUES = 100_000  # in one file; a longer one is an attack or a mistake
_MERGE = "tag:yaml.org,2002:merge"


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML's safe loader, but a key given twice and text that aliases make too large are errors; 1e-4 is a number."""

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None:
            _count(node, {})
        return node


def _count(node: yaml.Node, counts: dict[int, int]) -> int:
    """Values in a node when every alias is written out. Raises ComposerError beyond what a configuration can be."""
    if isinstance(node, yaml.ScalarNode) and "\0" in node.value:
        raise yaml.composer.ComposerError(None, None, "a NUL character in a value", node.start_mark)
    if id(node) not in counts:
        counts[id(node)] = _MOST_VALUES  # an alias of a node inside itself never ends
        items = node.value if isinstance(node, yaml.CollectionNode) else []
        parts = chain.from_iterable(items) if isinstance(node, yaml.MappingNode) else items
        counts[id(node)] = 1 + sum(_count(part, counts) for part in parts)
        if counts[id(node)] > _MOST_VALUES:
            what = f"more than {_MOST_VALUES} values with all aliases written out"
            raise yaml.composer.ComposerError(None, None, what, node.start_mark)
    return counts[id(node)]


def _mapping(loader: _UniqueKeyLoader, node: yaml.MappingNode, deep: bool = False) -> dict:
    own: dict = {}
    above: dict = {}  # of `<<: *other`, YAML 1.1's merge: what the mapping itself says comes before it
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if isinstance(key, list | dict | set):
            raise yaml.constructor.ConstructorError(None, None, "a key is text, not a list", key_node.start_mark)
        merges = key_node.tag == _MERGE
        if key in own or (merges and above):
            raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is given twice", key_node.start_mark)
        value = loader.construct_object(value_node, deep=True)
        if not merges:
            own[key] = value
            continue
        parts = value if isinstance(value, list) else [value]
        if not all(isinstance(part, dict) for part in parts):
            what = f"{key} takes a mapping or a list of mappings"
            raise yaml.constructor.ConstructorError(None, None, what, value_node.start_mark)
        above = {name: one for part in reversed(parts) for name, one in part.items()}
    return above | own


def _integer(loader: _UniqueKeyLoader, node: yaml.ScalarNode) -> int:
    if re.match(r"[-+]?(?:0[0-7_]|.*:)", node.value):  # 010 would be 8, and 1:30 would be 90
        what = f"{node.value}: YAML reads such a number in base 8 or 60; write it in quotes, or as a plain number"
        raise yaml.constructor.ConstructorError(None, None, what, node.start_mark)
    return loader.construct_yaml_int(node)


def _text(loader: _UniqueKeyLoader, node: yaml.ScalarNode) -> str:
    return str(node.value)


_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
_UniqueKeyLoader.add_constructor("tag:yaml.org,2002:int", _integer)
for _sign in (_MERGE, "tag:yaml.org,2002:value"):  # `<<` and `=` as a value are text, such as a label's
    _UniqueKeyLoader.add_constructor(_sign, _text)
# YAML 1.1 reads 1e-4 as text (it wants 1.0e-4); people write learning rates the short way.
_UniqueKeyLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def parse_yaml(text: str, where: str) -> Any:
    """Parses YAML text. Raises InputError with line and column of a syntax error."""
    try:
        return _written_out(yaml.load(text, Loader=_UniqueKeyLoader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{where}:{mark.line + 1}:{mark.column + 1}" if mark else where
        problem = getattr(error, "problem", None) or str(error)
        raise InputError(f"not valid YAML: {problem}", place, "correct the line (indentation, colon, quotes)") from None
    except RecursionError:
        raise InputError("nested too deeply", where, "take levels out; no key of a run is deeper than ten") from None
    except (ValueError, KeyError, AttributeError) as error:  # of a number, a date or a `!!bool` that is none
        raise InputError(f"not valid YAML: {error}", where, "write such a value in quotes, or correct it") from None


def _written_out(value: Any) -> Any:
    """The same values, each in one place only: an override below one alias is not for the others."""
    if isinstance(value, dict):
        return {key: _written_out(part) for key, part in value.items()}
    return [_written_out(part) for part in value] if isinstance(value, list) else value
