"""Elections as readable text: what happens, line by line, and what each director makes of it. See `play`."""
