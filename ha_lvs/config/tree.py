"""YAML text to plain data, with the place of every key and value.

Rules that hold here:
* Nothing is lost silently: duplicate keys, unknown tags, endless or exploding aliases and broken syntax are
  problems with a place.
* A plain scalar is null, true/false, a whole decimal number or text, and nothing else. YAML 1.1's other
  guesses (`off` is false, `12:30` is 750, `010` is 8, `2024-01-01` is a date) have surprised enough operators.
* Keys are always text, as written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

Path = tuple[str | int, ...]
"""Where in the structure: keys and list indexes from the top."""

Place = tuple[int, int]
"""Line and column, 1-based."""

TOP = "(top level)"
"""The path of the whole file, for people."""

_MAX_VALUES = 1_000_000
_MAX_DEPTH = 100
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_TAG = "tag:yaml.org,2002:"
_SCALAR_TAGS = {_TAG + kind for kind in ("str", "int", "float", "bool", "null", "timestamp", "merge", "value")}

# libyaml's parser is ten times as fast; it is missing only from unusual builds of PyYAML.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


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
        values, keys: places of the values and of the keys, by path.
        faults: what is wrong with it as YAML.
        empty: whether there is no content at all.
    """

    data: object = None
    values: dict[Path, Place] = field(default_factory=dict)
    keys: dict[Path, Place] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    empty: bool = False

    def place_of(self, path: Path, key: bool = False) -> tuple[Path, Place]:
        """The place of a value (or of its key), with its path: the nearest one that exists."""
        if key and path in self.keys:
            return path, self.keys[path]
        while path and path not in self.values:
            path = path[:-1]
        return path, self.values.get(path, (1, 1))


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
        _refuse_depth(text)
        node = yaml.compose(text, Loader=_Loader)
        if node is None:
            tree.empty = True
        else:
            tree.data = _Converter(tree).convert(node, ())
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        place = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        what = ", ".join(part for part in (problem.context, problem.problem) if part) or "unreadable"
        tree.faults.append(Fault(place, (), f"not YAML: {what}; check indentation, colons, brackets and quotes"))
    except yaml.YAMLError as problem:
        found = re.search(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", text)
        place = _end_of(text[: found.start()]) if found else (1, 1)
        reason = str(getattr(problem, "reason", None) or "unreadable characters")
        shown = f" {found[0]!r}" if found else ""
        tree.faults.append(Fault(place, (), f"not YAML: {reason}{shown}; remove it"))
    except _TooDeep as problem:
        tree.faults.append(Fault(problem.place, (), f"nested more than {_MAX_DEPTH} deep; close some brackets"))
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


def _refuse_depth(text: str) -> None:
    """Reads the flat events first: libyaml's composer recurses in C, where too deep a file ends the process."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _MAX_DEPTH:
                mark = event.start_mark
                raise _TooDeep((mark.line + 1, mark.column + 1) if mark else (1, 1))
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


class _Converter:
    """Nodes to data. An alias is converted anew at each use, because its paths differ; hence the limit."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._open: set[int] = set()
        self._merging: set[int] = set()
        self._count = 0

    def convert(self, node: yaml.Node, path: Path) -> object:
        self._count += 1
        if self._count > _MAX_VALUES:
            raise _TooLarge
        self._tree.values[path] = _start(node)
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
        text = str(node.value)
        if node.tag not in _SCALAR_TAGS:
            self._fault(node, path, f"the tag {node.tag} is not supported; remove it")
        if node.style or node.tag == _TAG + "str":
            return text
        if text in ("", "~", "null", "Null", "NULL"):
            return None
        if text in ("true", "True", "TRUE", "false", "False", "FALSE"):
            return text.lower() == "true"
        return int(text) if _INTEGER.fullmatch(text) else text

    def _list(self, node: yaml.Node, path: Path) -> list[object]:
        if node.tag != _TAG + "seq":
            self._fault(node, path, f"the tag {node.tag} is not supported; remove it")
        return [self.convert(item, (*path, index)) for index, item in enumerate(node.value)]

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, object]:
        if node.tag != _TAG + "map":
            self._fault(node, path, f"the tag {node.tag} is not supported; remove it")
        data: dict[str, object] = {}
        for key, value, merged in self._pairs(node, path):
            if not isinstance(key, yaml.ScalarNode):
                self._fault(key, path, "a key that is not text; write a word before the ':'")
                continue
            name = str(key.value)
            child = (*path, name)
            if name not in data:
                self._tree.keys[child] = _start(key)
                data[name] = self.convert(value, child)
            elif not merged:
                line, _ = self._tree.keys[child]
                self._fault(key, child, f"duplicate key `{name}`, already given in line {line}; remove one")
        return data

    def _pairs(self, node: yaml.MappingNode, path: Path) -> Iterator[tuple[yaml.Node, yaml.Node, bool]]:
        """Key, value and whether they were merged in. Merged ones come last: the mapping's own keys win,
        whatever the order in the file, and of two sources the first."""
        for key, value in node.value:
            if key.tag != _TAG + "merge":
                yield key, value, False
        for key, value in node.value:
            if key.tag != _TAG + "merge":
                continue
            for source in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                self._count += 1
                if self._count > _MAX_VALUES:
                    raise _TooLarge
                if not isinstance(source, yaml.MappingNode) or id(source) in self._merging:
                    self._fault(key, path, "`<<` merges mappings only, and not into themselves; give it an alias")
                    continue
                self._merging.add(id(source))
                yield from ((inner, found, True) for inner, found, _ in self._pairs(source, path))
                self._merging.discard(id(source))

    def _fault(self, node: yaml.Node, path: Path, message: str) -> None:
        self._tree.faults.append(Fault(_start(node), path, message))


def _start(node: yaml.Node) -> Place:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _end_of(text: str) -> Place:
    return text.count("\n") + 1, len(text) - (text.rfind("\n") + 1) + 1
