"""Who is active: VRRP as a pure machine of (state, event, now). The elector process runs it."""
