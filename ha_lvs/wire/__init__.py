"""Bytes to values and back, and nothing else: no sockets, no clocks. Malformed bytes raise `WireError`."""
