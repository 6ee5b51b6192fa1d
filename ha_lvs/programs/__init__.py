"""Running operators' programs, as whom and how: for the attendant's scripts and the prober's exec checks."""
