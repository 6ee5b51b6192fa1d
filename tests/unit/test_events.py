"""The table of events against every call in the sources that logs, found in their syntax trees."""

from __future__ import annotations

import ast
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

import ha_lvs
from ha_lvs.election.events import Action, Heard, RoleChanged, Start, Stop
from ha_lvs.election.machine import Machine
from ha_lvs.model import Role, VrrpInstance
from ha_lvs.observe import logs
from ha_lvs.observe.events import EVENTS, TABLE, Event

PACKAGE = Path(ha_lvs.__file__).parent
IDS_FILE = Path(__file__).parent / "data" / "message_ids.txt"
HANDS_ON = {"log", "_log", "_complain"}  # methods called with a level, an event and what varies
NO_FIELDS = {"exc_info"}


@dataclass
class Call:
    """A call that logs: the phrase, the levels that it may have, the fields that it carries."""

    place: str
    phrase: str
    levels: set[str]
    fields: set[str]


@dataclass
class Forwarder:
    """A method that logs an event of its caller's: what it adds to the fields, and whether it hands on keywords."""

    adds: set[str]
    hands_on_keywords: bool


@dataclass
class Reader(ast.NodeVisitor):
    """Reads a module's calls that log. Whatever cannot be told from the source is an error, not an omission."""

    file: str
    forwarders: dict[tuple[str, str], Forwarder]
    calls: list[Call] = field(default_factory=list)
    functions: list[ast.FunctionDef | ast.AsyncFunctionDef] = field(default_factory=list)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._function(node)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.functions.append(node)
        self.generic_visit(node)
        self.functions.pop()

    def visit_Call(self, node: ast.Call) -> None:
        match node.func:
            case ast.Attribute(value=ast.Name(id="log"), attr=level) if level in {*logs.LEVELS, "exception"}:
                level = "error" if level == "exception" else level
                self._add(node, ast.Constant(level), node.args[0], self._keywords(node))
            case ast.Attribute(value=ast.Name(id="self"), attr=name) if name in HANDS_ON and len(node.args) >= 2:
                through = self._forwarder(name)
                own = self._keywords(node) if through.hands_on_keywords else set()
                self._add(node, node.args[0], node.args[1], own | through.adds)
            case ast.Name(id="LogRecord"):
                level_node, phrase, fields = node.args
                keys = fields.keys if isinstance(fields, ast.Dict) else []
                self._add(node, level_node, phrase, {ast.literal_eval(key) for key in keys if key is not None})
        self.generic_visit(node)

    def _forwarder(self, name: str) -> Forwarder:
        """The method of that name in this module, else the only one in its package: some are handed to a neighbour."""
        own = self.forwarders.get((self.file, name))
        if own is not None:
            return own
        package = Path(self.file).parent
        near = [
            each for (file, known), each in self.forwarders.items() if known == name and Path(file).parent == package
        ]
        assert len(near) <= 1, f"{self.file}: whose {name}?"
        return near[0] if near else Forwarder(set(), True)

    def _keywords(self, node: ast.Call) -> set[str]:
        return {each.arg or "**" for each in node.keywords} - NO_FIELDS

    def _add(self, node: ast.Call, level: ast.expr, phrase: ast.expr, fields: set[str]) -> None:
        place = f"{self.file}:{node.lineno}"
        function = self.functions[-1] if self.functions else None
        if isinstance(phrase, ast.Name) and function is not None and phrase.id in _parameters(function):
            adds = fields - {"**"}
            self.forwarders[self.file, function.name] = Forwarder(adds, function.args.kwarg is not None)
            return
        assert isinstance(phrase, ast.Constant), f"{place}: the phrase is not written out: {ast.unparse(phrase)}"
        assert "**" not in fields, f"{place}: the fields are not written out"
        self.calls.append(Call(place, str(phrase.value), set(self._values(level, place)), fields))

    def _values(self, node: ast.expr, place: str) -> Iterator[str]:
        """What a level can be: a constant, one of two, or a name that the function gives such a value once."""
        match node:
            case ast.Constant(value=str(value)):
                yield value
            case ast.IfExp():
                yield from self._values(node.body, place)
                yield from self._values(node.orelse, place)
            case ast.Name(id=name) if self.functions:
                given = [
                    each.value
                    for each in ast.walk(self.functions[-1])
                    if isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) == name
                ]
                assert len(given) == 1, f"{place}: where does {name} come from?"
                yield from self._values(given[0], place)
            case _:
                raise AssertionError(f"{place}: the level is not written out: {ast.unparse(node)}")


def _parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    return {argument.arg for argument in (*function.args.args, *function.args.kwonlyargs)}


def read(sources: dict[str, str]) -> list[Call]:
    """The calls that log in modules. Read twice: a forwarder may stand behind those who call it."""
    forwarders: dict[tuple[str, str], Forwarder] = {}
    for _ in range(2):
        readers = [Reader(name, forwarders) for name in sources]
        for reader in readers:
            reader.visit(ast.parse(sources[reader.file]))
    return [call for reader in readers for call in reader.calls]


def sources() -> dict[str, str]:
    """The modules that may log: all but the drills', which tell events of another kind."""
    paths = [path for path in sorted(PACKAGE.rglob("*.py")) if "drill" not in path.relative_to(PACKAGE).parts[:1]]
    return {str(path.relative_to(PACKAGE.parent)): path.read_text() for path in paths}


CALLS = read(sources())


def calls_of(phrase: str) -> list[Call]:
    return [call for call in CALLS if call.phrase == phrase]


# ------------------------------------------------------------------------------------- the table and the sources


def test_every_event_that_is_logged_is_in_the_table() -> None:
    assert {call.phrase: call.place for call in CALLS if call.phrase not in EVENTS} == {}


def test_every_event_of_the_table_is_logged() -> None:
    assert {event.phrase for event in TABLE} - {call.phrase for call in CALLS} == set()


@pytest.mark.parametrize("event", TABLE, ids=lambda event: event.phrase)
def test_events_are_logged_at_the_level_of_the_table(event: Event) -> None:
    found = calls_of(event.phrase)
    assert {level for call in found for level in call.levels} == set(event.levels), [call.place for call in found]
    assert set(event.levels) <= logs.LEVELS.keys()


@pytest.mark.parametrize("event", TABLE, ids=lambda event: event.phrase)
def test_events_carry_the_fields_of_the_table(event: Event) -> None:
    found = [call.fields for call in calls_of(event.phrase)]
    assert found, "logged nowhere"
    assert set.intersection(*found) == set(event.fields)
    assert set.union(*found) == {*event.fields, *event.sometimes}


def test_drills_do_not_log() -> None:
    for path in (PACKAGE / "drill").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [each.name for each in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            assert not {"structlog", "ha_lvs.observe", "LogRecord"} & set(names), (
                f"{path} logs: let it be looked at, too"
            )


def test_loggers_have_the_name_by_which_calls_are_found() -> None:
    for name, text in sources().items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Assign) and "get_logger" in ast.unparse(node.value):
                assert ast.unparse(node) == "log = structlog.get_logger()", name
        assert text.count("get_logger()") == text.count("log = structlog.get_logger()") + text.count(
            "`structlog.get"
        ), name


# ----------------------------------------------------------------------------------- the reader of sources itself


def test_the_reader_finds_calls_of_each_form() -> None:
    text = """
log = structlog.get_logger()
class A:
    def _complain(self, level, event, detail, key=""):
        self._log(level, event, instance=1, detail=detail)
    def log(self, level, event, **fields):
        self._guardian.send(LogRecord(level, event, fields))
    async def work(self, planned):
        log.warning("one", a=1, exc_info=True)
        level = "notice" if planned else "warning"
        self._log(level, "two", b=2)
        self._complain("error", "three", "x", key="y")
        self.log("info" if planned else "error", "four", c=3)
        LogRecord("error", "five", {"d": 4})
        math.log(2.0)
"""
    found = {call.phrase: (call.levels, call.fields) for call in read({"a.py": text})}
    assert found == {
        "one": ({"warning"}, {"a"}),
        "two": ({"notice", "warning"}, {"b"}),
        "three": ({"error"}, {"instance", "detail"}),
        "four": ({"info", "error"}, {"c"}),
        "five": ({"error"}, {"d"}),
    }


@pytest.mark.parametrize(
    "statement",
    ['log.info(f"role is {role}")', "log.info(phrase)", 'self._log(chosen(), "x")', 'log.info("x", **fields)'],
)
def test_the_reader_refuses_what_it_cannot_know(statement: str) -> None:
    with pytest.raises(AssertionError, match=r"a\.py:2"):
        read({"a.py": f"def f(self):\n    {statement}\n"})


# -------------------------------------------------------------------------------------------------------- the ids


@pytest.mark.parametrize("event", TABLE, ids=lambda event: event.phrase)
def test_an_id_is_a_random_uuid(event: Event) -> None:
    assert uuid.UUID(hex=event.message_id).hex == event.message_id
    assert uuid.UUID(hex=event.message_id).version == 4


def test_ids_and_phrases_are_unique() -> None:
    assert len({event.message_id for event in TABLE}) == len(EVENTS) == len(TABLE)


def test_ids_never_change_and_are_never_used_again() -> None:
    """The file has every id ever given, also those of events that are gone: add to it, change nothing."""
    given = dict(line.split(" ", 1) for line in IDS_FILE.read_text().splitlines())
    assert {event.message_id: event.phrase for event in TABLE}.items() <= given.items()


# --------------------------------------------------------------------------------- levels that depend on the case


OURS, OTHER = IPv4Address("10.9.0.11"), IPv4Address("10.9.0.12")
BACKUP = VrrpInstance(
    name="edge",
    interface="e0",
    router_id=51,
    priority=100,
    interval_s=1.0,
    preempt=True,
    source=OURS,
    peers=(),
    group=IPv4Address("224.0.0.18"),
    virtual_ips=(),
    lease_s=None,
    announce_repeat=0,
    announce_interval_s=1.0,
)


def change(actions: list[Action]) -> RoleChanged:
    """The one change of role among the actions."""
    [found] = [action for action in actions if isinstance(action, RoleChanged)]
    return found


def started(*, preempt: bool = True) -> Machine:
    """A backup of priority 100, started at 0."""
    machine = Machine(replace(BACKUP, preempt=preempt))
    assert change(machine.handle(Start(), 0.0)) == RoleChanged(Role.BACKUP, "started", planned=True)
    return machine


def after_silence(machine: Machine) -> tuple[RoleChanged, float]:
    """What happens when nothing more is heard, and when."""
    while machine.deadline is not None:
        now = machine.deadline
        for action in machine.handle_timer(now):
            if isinstance(action, RoleChanged):
                return action, now
    raise AssertionError("nothing happens")


def test_who_has_heard_nobody_may_be_cut_off_from_an_active_and_a_person_should_look() -> None:
    assert after_silence(started())[0] == RoleChanged(Role.ACTIVE, "no other router was heard", planned=False)


def test_a_take_over_from_one_who_fell_silent_is_not_planned() -> None:
    machine = started()
    machine.handle(Heard(OTHER, 150, 1.0), 0.5)
    assert after_silence(machine)[0] == RoleChanged(Role.ACTIVE, "10.9.0.12 fell silent", planned=False)


def test_a_take_over_from_an_inferior_without_preemption_is_not_planned() -> None:
    machine = started(preempt=False)
    machine.handle(Heard(OTHER, 50, 1.0), 0.5)
    assert after_silence(machine)[0] == RoleChanged(Role.ACTIVE, "10.9.0.12 fell silent", planned=False)


@pytest.mark.parametrize("heard", [0, 50], ids=["resignation", "preemption"])
def test_a_take_over_from_one_who_resigned_or_is_inferior_is_planned(heard: int) -> None:
    machine = started()
    machine.handle(Heard(OTHER, 150, 1.0), 0.5)
    machine.handle(Heard(OTHER, heard, 1.0), 0.9)
    assert after_silence(machine)[0].planned


@pytest.mark.parametrize("priority", [50, 150])
def test_yielding_after_a_freeze_is_not_planned(priority: int) -> None:
    machine = started()
    _, now = after_silence(machine)
    found = change(machine.handle(Heard(OTHER, priority, 1.0), now + 10.0))
    assert (found.role, found.planned) == (Role.BACKUP, False)


@pytest.mark.parametrize("priority", [50, 150])
def test_yielding_while_listening_after_a_freeze_is_not_planned(priority: int) -> None:
    machine = started()
    _, now = after_silence(machine)
    assert [action for action in machine.handle_timer(now + 10.0) if isinstance(action, RoleChanged)] == []
    found = change(machine.handle(Heard(OTHER, priority, 1.0), now + 10.1))
    assert (found.role, found.planned) == (Role.BACKUP, False)


def test_yielding_to_a_superior_in_time_and_stopping_are_planned() -> None:
    machine = started()
    _, now = after_silence(machine)
    found = change(machine.handle(Heard(OTHER, 150, 1.0), now + 0.5))
    assert (found.role, found.planned) == (Role.BACKUP, True)
    found = change(machine.handle(Stop(), now + 0.6))
    assert (found.role, found.planned) == (Role.INITIALIZE, True)
