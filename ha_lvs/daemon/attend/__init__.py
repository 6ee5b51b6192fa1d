"""What the attendant does, one kind of thing a module: scripts, files, processes, witnesses, duplicates, notify."""
