"""`make demo`: a director pair fails over before your eyes, on a kernel with IPVS.

    python -m ha_lvs.drill.demo -o build/demo

The measuring side (`run`) runs as a process of its own, natively where the kernel has IPVS and in the VM lab
elsewhere, and writes events. This side shows them (`view`) and leaves in the output directory:

    report.json    figures of each forwarding method and of all together (`report`)
    timeline.png   the same as a picture (`timeline`), where matplotlib is installed
    events.jsonl   the events themselves, from which all the rest can be made again
    logs/          of both directors, and what else the measuring side had to say

It ends with exit code 1 and a list of what did not hold when a connection was lost or a step never happened.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from rich.console import Console

from ha_lvs.drill.demo import report, timeline
from ha_lvs.drill.demo import view as views
from ha_lvs.drill.demo.story import Story
from ha_lvs.drill.lab import choice
from ha_lvs.drill.measure.events import parse_event
from ha_lvs.errors import LabError

METHODS = ("dr", "nat", "tun")


def follow(lines: Iterator[bytes], story: Story, view: views.View, record: IO[bytes], rest: IO[bytes]) -> None:
    """Feeds each event to the story, the screen and the record; lines that are no events go to `rest`."""
    for line in lines:
        event = parse_event(line)
        if event is None:
            rest.write(line)
            rest.flush()
            continue
        record.write(line)
        record.flush()
        story.feed(event)
        view.show(story, event)


def command(options: argparse.Namespace, lab: str) -> list[str]:
    """How the measuring side is started in a kind of lab: ``native``, or a kind of guest."""
    run = ["--output", str(options.output), "--lab", lab]
    run += ["--connections", str(options.connections), "--rate", str(options.rate)]
    run += ["--interval-ms", str(options.interval_ms)]
    for method in options.forwarding or METHODS:
        run += ["--forwarding", method]
    return choice.inside(lab, "ha_lvs.drill.demo.run", run)


def show(options: argparse.Namespace, console: Console) -> list[str]:
    """The whole demo; what did not hold comes back.

    Errors: LabError when there is no lab to be had.
    """
    output: Path = options.output
    lab = choice.choose(output)
    shutil.rmtree(output / "logs", ignore_errors=True)
    (output / "logs").mkdir(parents=True, exist_ok=True)
    story = Story()
    if lab != choice.NATIVE:
        console.print(f"this kernel has no IPVS: the pair runs in a guest ({lab}), slower than a real machine")
    rest_path = output / "logs" / "lab.log"
    view = views.make(console)
    with (output / "events.jsonl").open("wb") as record, rest_path.open("wb") as rest:
        process = subprocess.Popen(command(options, lab), stdout=subprocess.PIPE, stderr=rest, stdin=subprocess.DEVNULL)
        try:
            assert process.stdout
            follow(iter(process.stdout), story, view, record, rest)
        finally:
            if process.poll() is None:
                process.terminate()
            code = process.wait()
            view.close()
    result = report.build(story, options.forwarding or METHODS)
    if code:
        result["problems"].append(f"the measuring side ended with exit code {code}, see {rest_path}")
        result["ok"] = False
    (output / "report.json").write_text(json.dumps(result, indent=2) + "\n")
    if result["forwarding"]:
        console.print()
        console.print(views.summary_table(result))
    try:
        timeline.draw(story, output / "timeline.png")
    except LabError as problem:
        console.print(str(problem))
    console.print(f"{output}/: report.json, timeline.png, events.jsonl, logs/")
    return list(result["problems"])


def main(arguments: list[str] | None = None) -> None:
    """Runs the demo; exit code 1 when something did not hold."""
    parser = argparse.ArgumentParser(prog="python -m ha_lvs.drill.demo", description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("build/demo"))
    parser.add_argument("--forwarding", action="append", choices=METHODS, help="only this method; may be repeated")
    parser.add_argument("--connections", type=int, default=200, help="long-lived connections (default 200)")
    parser.add_argument("--rate", type=float, default=50, help="short requests a second (default 50)")
    parser.add_argument("--interval-ms", type=int, default=250, help="between two advertisements (default 250)")
    options = parser.parse_args(arguments)
    options.output = options.output.absolute()
    # SIGTERM unwinds like any exit does, so that the guest is switched off.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    console = Console()
    if not console.is_terminal:
        console = Console(width=views.PLAIN_WIDTH)
    try:
        wrong = show(options, console)
    except LabError as problem:
        wrong = [str(problem)]
    except KeyboardInterrupt:
        sys.exit(130)
    if wrong:
        console.print("[bold red]What did not hold:[/]")
        for text in wrong:
            console.print(f"  - {text}", markup=False, soft_wrap=True)
        sys.exit(1)
    console.print("[bold green]Everything held.[/]")


if __name__ == "__main__":
    main()
