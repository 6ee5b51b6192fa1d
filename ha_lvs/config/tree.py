"""YAML text to plain data, with the place of every key and value.

Rules that hold here:
* Nothing is lost silently: duplicate keys, unknown tags, endless or exploding aliases and broken syntax are
  problems with a place.
* A plain scalar is null, true/false, a whole decimal number or text, and nothing else. YAML 1.1's other
  guesses (`off` is false, `12:30` is 750, `010` is 8, `2024-01-01` is a date) have surprised enough operators.
* Keys are always text, as written.
* A place is looked for only when there is something to say of it: good files, however large, never ask.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.resolver import BaseResolver

Path = tuple[str | int, ...]
"""Where in the structure: keys and list indexes from the top."""

Place = tuple[int, int]
"""Line and column, 1-based."""

TOP = "(top level)"
"""The path of the whole file, for people."""

_MAX_VALUES = 1_000_000
_MAX_DEPTH = 100
_TOO_DEEP = f"nested more than {_MAX_DEPTH} deep; close some brackets"
_WORDS = dict.fromkeys(("", "~", "null", "Null", "NULL")) | {
    word: word.lower() == "true" for word in ("true", "True", "TRUE", "false", "False", "FALSE")
}
_NUMERIC = frozenset("-+0123456789")
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_TAG = "tag:yaml.org,2002:"
_SCALAR_TAGS = {_TAG + kind for kind in ("str", "int", "float", "bool", "null", "timestamp", "merge", "value")}

_MERGE = _TAG + "merge"
_PLAIN = ""
"""The tag of a scalar without quotes and without a tag: what it is, `_Converter` decides."""

# libyaml's parser is ten times as fast; it is missing only from unusual builds of PyYAML.
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc]  # whichever of the two there is
    """Composes nodes without YAML 1.1's guesses at what they are, and not too deep: libyaml's composer recurses in C,
    where too deep a file would end the process."""

    _depth = 0

    def resolve(self, kind: type[yaml.Node], value: object, implicit: Any) -> str:
        """The tag of a node that has none."""
        if kind is yaml.ScalarNode:
            if implicit[0]:
                return _MERGE if value == "<<" else _PLAIN
            return _TAG + "str"
        return str(BaseResolver.DEFAULT_SEQUENCE_TAG if kind is yaml.SequenceNode else BaseResolver.DEFAULT_MAPPING_TAG)

    def descend_resolver(self, parent: yaml.Node | None, _: object) -> None:
        """Called before a node is composed; the parent is the collection that it stands in."""
        self._depth += 1
        if self._depth > _MAX_DEPTH + 1:
            mark = parent.start_mark if parent is not None else None
            raise _TooDeep((mark.line + 1, mark.column + 1) if mark else (1, 1))

    def ascend_resolver(self) -> None:
        """Called after it."""
        self._depth -= 1


def dotted(path: Path) -> str:
    """A path for people: `instances.edge.virtual_ips[0]`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".") or TOP


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong at a place of the file."""

    place: Place
    path: Path
    message: str


@dataclass(slots=True)
class Tree:
    """A file's content.

    Arguments:
        data: dicts with text keys, lists, text, whole numbers, booleans, None.
        faults: what is wrong with it as YAML.
        empty: whether there is no content at all.
        text: what was parsed.
    """

    data: object = None
    faults: list[Fault] = field(default_factory=list)
    empty: bool = False
    text: str = ""
    _root: yaml.Node | None = None

    def place_of(self, path: Path, key: bool = False) -> tuple[Path, Place]:
        """The place of a value (or of its key), with its path: the nearest one that exists."""
        if self._root is None and not self.faults and not self.empty:
            self._root = yaml.compose(self.text, Loader=_Loader)
        node, found = self._root, path
        if node is None:
            return (), (1, 1)
        for depth, part in enumerate(path):
            named, inner = _child(node, part)
            if inner is None:
                found = path[:depth]
                break
            if key and named is not None and depth == len(path) - 1:
                return path, _start(named)
            node = inner
        return found, _start(node)

    def forget_places(self) -> None:
        """Gives back the memory that places take; they are found again when they are asked for."""
        if not self.faults:
            self._root = None


def parse(content: bytes) -> Tree:
    """The tree of a file's bytes. Never raises: what is wrong is in its `faults`."""
    tree = Tree()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        before = content[: problem.start].decode("utf-8", errors="replace")
        message = f"byte 0x{content[problem.start]:02x} is not UTF-8 text; save the file as UTF-8"
        tree.faults.append(Fault(_end_of(before), (), message))
        return tree
    try:
        node = yaml.compose(text, Loader=_Loader)
        if node is None:
            tree.empty = True
        else:
            tree.text, tree._root = text, node
            tree.data = _Converter(tree).convert(node, ())
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        place = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        what = ", ".join(part for part in (problem.context, problem.problem) if part) or "unreadable"
        if "nesting depth" in what:  # newer releases of libyaml give up before our own limit is seen
            tree.faults.append(Fault(place, (), _TOO_DEEP))
        else:
            tree.faults.append(Fault(place, (), f"not YAML: {what}; check indentation, colons, brackets and quotes"))
    except yaml.YAMLError as problem:
        found = re.search(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", text)
        place = _end_of(text[: found.start()]) if found else (1, 1)
        reason = str(getattr(problem, "reason", None) or "unreadable characters")
        shown = f" {found[0]!r}" if found else ""
        tree.faults.append(Fault(place, (), f"not YAML: {reason}{shown}; remove it"))
    except _TooDeep as problem:
        tree.faults.append(Fault(problem.place, (), _TOO_DEEP))
    except RecursionError:
        tree.faults.append(Fault((1, 1), (), "nested too deeply; are aliases nesting in each other?"))
    except _TooLarge:
        tree.faults.append(Fault((1, 1), (), f"more than {_MAX_VALUES} values; are aliases multiplying them?"))
    return tree


class _TooLarge(Exception):
    pass


class _TooDeep(Exception):
    def __init__(self, place: Place) -> None:
        self.place = place


class _Converter:
    """Nodes to data. An alias is converted anew at each use, because what is in it is checked as often; hence the
    limit."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._open: set[int] = set()
        self._count = 0

    def convert(self, node: yaml.Node, path: Path) -> object:
        """The data of a node.

        Arguments:
            path: of the collection that it stands in; only the nearest known one is needed for a fault.
        """
        self._count += 1
        if self._count > _MAX_VALUES:
            raise _TooLarge
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if id(node) in self._open:
            self._fault(node, path, "an alias that contains itself; write the values out")
            return None
        self._open.add(id(node))
        try:
            return self._mapping(node, path) if isinstance(node, yaml.MappingNode) else self._list(node, path)
        finally:
            self._open.discard(id(node))

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> object:
        text: str = node.value
        if node.tag != _PLAIN:
            if node.tag not in _SCALAR_TAGS:
                self._fault(node, path, f"the tag {node.tag} is not supported; remove it")
            if node.style or node.tag == _TAG + "str":
                return text
        if text in _WORDS:
            return _WORDS[text]
        return int(text) if text[:1] in _NUMERIC and _INTEGER.fullmatch(text) else text

    def _list(self, node: yaml.Node, path: Path) -> list[object]:
        if node.tag != _TAG + "seq":
            self._fault(node, path, f"the tag {node.tag} is not supported; remove it")
        return [self.convert(item, (*path, index)) for index, item in enumerate(node.value)]

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, object]:
        if node.tag != _TAG + "map":
            self._fault(node, path, f"the tag {node.tag} is not supported; remove it")
        data: dict[str, object] = {}
        first: dict[str, yaml.Node] = {}
        for key, value, merged in _pairs(node, self._step):
            if not isinstance(key, yaml.ScalarNode):
                self._fault(key, path, "a key that is not text; write a word before the ':'")
                continue
            if value is None:
                message = "`<<` merges mappings only, and not into themselves; give it an alias"
                self._fault(key, path, message)
                continue
            name: str = key.value
            if name not in data:
                first[name] = key
                data[name] = self.convert(value, (*path, name))
            elif not merged:
                line, _ = _start(first[name])
                message = f"duplicate key `{name}`, already given in line {line}; remove one"
                self._fault(key, (*path, name), message)
        return data

    def _step(self) -> None:
        self._count += 1
        if self._count > _MAX_VALUES:
            raise _TooLarge

    def _fault(self, node: yaml.Node, path: Path, message: str) -> None:
        self._tree.faults.append(Fault(_start(node), path, message))


def _pairs(
    node: yaml.MappingNode, step: Callable[[], None], merging: frozenset[int] = frozenset()
) -> Iterator[tuple[yaml.Node, yaml.Node | None, bool]]:
    """Key, value and whether they were merged in. Merged ones come last: the mapping's own keys win, whatever the
    order in the file, and of two sources the first. There is no value where something cannot be merged.

    Arguments:
        step: called for every source, and may raise when there are too many.
    """
    merges = False
    for key, value in node.value:
        if key.tag == _MERGE:
            merges = True
        else:
            yield key, value, False
    if not merges:
        return
    for key, value in node.value:
        if key.tag != _MERGE:
            continue
        for source in value.value if isinstance(value, yaml.SequenceNode) else [value]:
            step()
            if not isinstance(source, yaml.MappingNode) or id(source) in merging:
                yield key, None, True
            else:
                yield from ((inner, found, True) for inner, found, _ in _pairs(source, step, merging | {id(source)}))


def _child(node: yaml.Node, part: str | int) -> tuple[yaml.Node | None, yaml.Node | None]:
    """The key and the value of a part of a collection; no value where it has none of that name."""
    if isinstance(node, yaml.SequenceNode):
        there = isinstance(part, int) and part < len(node.value)
        return None, node.value[part] if there else None
    if isinstance(node, yaml.MappingNode):
        for key, value, _ in _pairs(node, lambda: None):
            if value is not None and isinstance(key, yaml.ScalarNode) and key.value == part:
                return key, value
    return None, None


def _start(node: yaml.Node) -> Place:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _end_of(text: str) -> Place:
    return text.count("\n") + 1, len(text) - (text.rfind("\n") + 1) + 1
