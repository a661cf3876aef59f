"""Measurements of the running program: what a round, a transaction or a proof costs."""
