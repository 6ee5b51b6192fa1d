"""What the elector process is made of: its instances, their paths, what is asked of them, and who succeeds it.

Everything here is as light as the elector itself must be. Decisions are in `ha_lvs.election`.
"""
