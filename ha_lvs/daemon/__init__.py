"""The four kinds of process of `ha-lvs run`, thin shells around the pure rooms: guardian, elector, director, prober."""
