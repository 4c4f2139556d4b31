"""Strict loading of frozen dataclasses from YAML: an unknown key or a wrong type names its place.

The dataclasses stand beside the classes they configure; this module only knows how to fill one.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Hashable, Iterable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

import yaml

from fusion.errors import InputError

T = TypeVar("T")


class _Loader(yaml.SafeLoader):
    """YAML in which ``1e-4`` is a number, as everywhere but in YAML 1.1, and no key may stand twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"{twice} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def parse_yaml(text: str) -> Any:
    """The plain mappings, sequences and scalars of a YAML text.

    Raises:
        yaml.YAMLError: it is none.
    """
    return yaml.load(text, _Loader)


def load_configuration(
    kind: type[T],
    file: Path | None,
    overrides: Sequence[str] = (),
    options: Mapping[str, object] | None = None,
    *,
    called: str = "--config",
) -> T:
    """Fill the dataclass ``kind`` from a YAML ``file`` (None: its defaults), options and ``a.b=value`` overrides.

    Later ones win: first the file, then ``options`` (dotted paths to values, such as ``{"fusion.method": "auif"}``),
    then the overrides.

    ``called`` is what errors call the file. The value of an override is read as YAML, so ``fusion.gray=true`` and
    ``pairing.max_wait_s=null`` work.

    Raises:
        InputError: the file is missing or no YAML, a key is unknown, a value has the wrong type; the message
            names the file and the dotted path of the key.
    """
    source = "options" if file is None else str(file)
    tree = {} if file is None else _read_yaml(file, called)
    for path, value in (options or {}).items():
        _put(tree, path, value)
    for override in overrides:
        set_path(tree, override)
    return build(kind, tree, source)


def set_path(tree: dict[str, Any], override: str) -> None:
    """Put one ``a.b=value`` override into a tree of mappings.

    Raises:
        InputError: there is no ``=``, the value is no YAML, or ``a`` is a value, not a mapping.
    """
    path, equals, text = override.partition("=")
    if not equals or not all(path.strip().split(".")):
        raise InputError(f"--set {override!r}: write it as name.field=value")
    try:
        value = parse_yaml(text)
    except yaml.YAMLError as error:
        raise InputError(f"--set {override!r}: the value is no YAML ({_one_line(error)})") from error
    _put(tree, path.strip(), value)


def _put(tree: dict[str, Any], path: str, value: object) -> None:
    keys = path.split(".")
    for key in keys[:-1]:
        tree = tree.setdefault(key, {})
        if not isinstance(tree, dict):
            raise InputError(f"{path}: {key} is a value, not a group of fields")
    tree[keys[-1]] = value


def build(kind: type[T], tree: object, source: str, path: str = "") -> T:
    """Make a ``kind`` (a dataclass) of a mapping of its fields.

    Args:
        kind: the dataclass; fields may be bool, int, float, str, Path, Literal, Enum, tuple, dict, optional,
            or dataclasses again.
        tree: the mapping; absent fields keep their defaults.
        source: what the errors call the origin (a file name or ``--set``).
        path: dotted place of ``tree`` inside the whole, for the errors.

    Raises:
        InputError: unknown key, missing required key, wrong type, or a value that the dataclass refuses.
    """
    if not isinstance(tree, Mapping):
        raise InputError(f"{source}: {path or 'the file'} must be a mapping of fields, not {_shown(tree)}")
    fields = {field.name: field for field in dataclasses.fields(kind) if field.init}  # type: ignore[arg-type]
    hints = typing.get_type_hints(kind)
    for key in tree:
        if key not in fields:
            raise InputError(f"{source}: unknown key {_join(path, key)}{_suggestion(key, fields)}")
    required = [
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    for name in required:
        if name not in tree and dataclasses.is_dataclass(hints[name]):
            tree = {**tree, name: {}}
        elif name not in tree:
            raise InputError(f"{source}: {_join(path, name)} is missing")
    values = {str(name): _convert(value, hints[name], source, _join(path, name)) for name, value in tree.items()}
    try:
        return kind(**values)
    except InputError as error:
        raise InputError(f"{source}: {path or 'configuration'}: {error}") from error


def as_tree(value: Any) -> Any:
    """A dataclass as plain mappings, sequences and scalars, ready for YAML or JSON."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: as_tree(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): as_tree(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_tree(item) for item in value]
    return value


def _convert(value: object, hint: Any, source: str, path: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return build(hint, {} if value is None else value, source, path)
    if origin in (Union, types.UnionType):
        return _convert_union(value, arguments, source, path)
    if origin is Literal:
        return _choose(value, {str(choice): choice for choice in arguments}, source, path)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _choose(value, {str(member.value): member for member in hint}, source, path)
    if origin is tuple and isinstance(value, (list, tuple)):
        return _convert_tuple(value, arguments, source, path)
    if origin in (dict, Mapping) and isinstance(value, Mapping):
        return {str(key): _convert(item, arguments[1], source, _join(path, key)) for key, item in value.items()}
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if hint is Path and isinstance(value, str):
        return Path(value)
    if isinstance(hint, type) and type(value) is hint:
        return value
    raise InputError(f"{source}: {path} must be {_described(hint)}, not {_shown(value)}")


def _convert_union(value: object, kinds: Sequence[Any], source: str, path: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    candidates = [kind for kind in kinds if kind is not type(None)]
    for kind in candidates[:-1]:
        try:
            return _convert(value, kind, source, path)
        except InputError:
            continue
    return _convert(value, candidates[-1], source, path)


def _convert_tuple(value: Sequence[object], kinds: Sequence[Any], source: str, path: str) -> tuple[Any, ...]:
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        kinds = [kinds[0]] * len(value)
    if len(kinds) != len(value):
        raise InputError(f"{source}: {path} needs {len(kinds)} values, not {len(value)}")
    return tuple(
        _convert(item, kind, source, f"{path}[{index}]")
        for index, (item, kind) in enumerate(zip(value, kinds, strict=True))
    )


def _choose(value: object, choices: Mapping[str, Any], source: str, path: str) -> Any:
    # YAML reads a bare `off` or `no` as false; only text can name a choice.
    if isinstance(value, str) and value in choices:
        return choices[value]
    raise InputError(
        f"{source}: {path} must be one of {', '.join(choices)}, not {_shown(value)}{_nearest(value, choices)}"
    )


def _read_yaml(file: Path, called: str) -> dict[str, Any]:
    try:
        tree = parse_yaml(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{called} {file}: there is no such file") from None
    except OSError as error:
        raise InputError(f"{called} {file}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{called} {file}: this is no YAML ({_one_line(error)})") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise InputError(f"{called} {file}: the file must be a mapping of fields, not {_shown(tree)}")
    return tree


def _suggestion(name: object, known: Iterable[str]) -> str:
    names = list(known)
    return _nearest(name, names) or f" (known: {', '.join(names)})"


def _nearest(name: object, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _described(hint: Any) -> str:
    plain = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path"}
    if hint in plain:
        return plain[hint]
    if typing.get_origin(hint) is tuple:
        return "a list"
    return "a mapping" if typing.get_origin(hint) in (dict, Mapping) else str(hint)


def _shown(value: object) -> str:
    return "nothing" if value is None else f"{value!r}"


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
