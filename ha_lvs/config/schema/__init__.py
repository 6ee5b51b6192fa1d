"""What a config file may hold, as pydantic models. `ha-lvs schema` prints their JSON Schema.

Rules that hold here:
* Unknown keys are refused, and nothing is coerced: a value either is what it should be or is a problem.
* A field's check is a function of `values`, `networks` or `programs`, which raises a sentence that an operator can
  act on. What concerns several fields at once is in `crosscheck`, which also works when fields are wrong.
* Every field has a description and examples: they become the JSON Schema and the text for a missing key.
* A new key has a default that leaves a file without it as it was, its digest too.
"""

from __future__ import annotations

from ha_lvs.config.schema.config import Config, json_schema

__all__ = ["Config", "json_schema"]
