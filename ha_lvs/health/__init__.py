"""Whether a real server lives: `verdict` and `schedule` decide (pure), `probes` does the I/O."""
