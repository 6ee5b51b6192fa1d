"""The short way to `ha-lvs server` and `ha-lvs service`: their usual forms, without a library for command lines.

Loading one takes ten times as long as changing a weight does. Whatever has an unusual form (help, a time-out, a
mistake) is not understood here and goes the long way, by `ha_lvs.cli.pools`, which also says how the verbs are used.
The tests compare the two.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing takes its time to load
if TYPE_CHECKING:
    from typing import Any


FLAGS = {
    "server drain": {"--json": ("as_json", True), "--wait": ("wait", True), "--no-wait": ("wait", False)},
    "server weight": {"--json": ("as_json", True)},
    "server enable": {"--json": ("as_json", True)},
    "service disable": {"--json": ("as_json", True), "--wait": ("wait", True), "--no-wait": ("wait", False)},
    "service enable": {"--json": ("as_json", True)},
}
WORDS = {"server drain": 2, "server weight": 3, "server enable": 2, "service disable": 1, "service enable": 1}
MOST_WEIGHT = 65_535


def understand(arguments: list[str]) -> tuple[str, list[Any], dict[str, Any]] | None:
    """What is to be called in `overriding`, with what; None where that takes the long way.

    Arguments:
        arguments: those after the program's name.
    """
    verb = " ".join(arguments[:2])
    if verb not in FLAGS:
        return None
    words: list[Any] = []
    options: dict[str, Any] = {"wait": True} if verb == "server drain" else {}
    rest = iter(arguments[2:])
    for each in rest:
        if each in FLAGS[verb]:
            name, value = FLAGS[verb][each]
            options[name] = value
        elif each == "--runtime-dir":
            directory = next(rest, "")
            if not directory or directory.startswith("-"):
                return None
            options["runtime_dir"] = directory
        elif each.startswith("-") or not each:
            return None
        else:
            words.append(each)
    if len(words) != WORDS[verb]:
        return None
    if verb == "server weight":
        weight = words.pop()
        if not (weight.isascii() and weight.isdigit() and len(weight) <= 5 and int(weight) <= MOST_WEIGHT):
            return None
        words.append(int(weight))
    elif verb.startswith("server"):
        words.append(0 if verb == "server drain" else None)
    else:
        options["enabled"] = verb == "service enable"
    return ("change_server" if verb.startswith("server") else "change_service"), words, options


def run(arguments: list[str]) -> int | None:
    """Does what is asked, and returns the exit code; None where that takes the long way.

    Errors: PlatformError when no director answers.
    """
    understood = understand(arguments)
    if understood is None:
        return None
    from ha_lvs.cli import overriding

    name, words, options = understood
    function = overriding.change_server if name == "change_server" else overriding.change_service
    return function(*words, **options)
