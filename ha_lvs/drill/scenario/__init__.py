"""A drill's scenario file: YAML to `Scenario`, what it can promise, and whether a measured run keeps it.

`load` reads a file and reports every problem at once with its place; `merge` puts its `config:` over the generated
pair's; `judge` holds measured figures against its `expect`. Nothing here touches a lab.
"""

from ha_lvs.drill.scenario.bounds import BOUNDS, Bound, Verdict, judge
from ha_lvs.drill.scenario.loader import load, loads
from ha_lvs.drill.scenario.merging import merge
from ha_lvs.drill.scenario.model import Scenario, Step
from ha_lvs.drill.scenario.schema import json_schema

__all__ = ["BOUNDS", "Bound", "Scenario", "Step", "Verdict", "json_schema", "judge", "load", "loads", "merge"]
