"""ha-lvs: two Linux machines made into one dependable Linux Virtual Server."""

__version__ = "0.1.0"
