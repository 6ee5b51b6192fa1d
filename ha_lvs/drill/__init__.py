"""The lab and what is rehearsed in it: a topology on a real kernel, load, faults, measurements, reports."""
