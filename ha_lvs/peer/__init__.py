"""The link between directors: frames, the session that authenticates them, the connections, and discovery by DNS-SD."""
