"""The only room that talks to the kernel's network configuration. Effects are thin; decisions are made elsewhere."""
