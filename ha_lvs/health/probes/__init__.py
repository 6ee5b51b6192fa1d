"""Probes of every kind, and the engine that runs many of them in one thread."""

from ha_lvs.health.probes.engine import Engine

__all__ = ["Engine"]
