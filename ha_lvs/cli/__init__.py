"""The command line: one file per group of verbs, each a thin layer over the other rooms."""
