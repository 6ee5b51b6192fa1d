"""The demo: a director pair fails over before your eyes. `show` is what the user starts, `run` measures in the lab."""
