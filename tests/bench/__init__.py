"""Speed, side by side with the incumbent in one run: `make bench`, or `python -m tests.bench election`.

Speed is asserted here and nowhere else: as ratios to what keepalived needs on the same machine in the same minutes, or
as absolute bounds where the issue sets one. Every figure is a median of repetitions that take turns.
"""
