"""What the kernel should hold, and the ordered steps from what it holds to that. Pure."""
