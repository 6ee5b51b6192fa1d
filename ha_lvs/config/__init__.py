"""The operator's file: YAML to `Config`, and from there to the part that each process needs.

`schema` says what a file may hold, `loader` reads one and reports every problem at once with its place,
`parts` turns a loaded file and a node's name into the frozen values of `ha_lvs.model`.
"""
