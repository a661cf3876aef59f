"""A node: it orders a ledger, keeps its tasks' bytes, and serves both over HTTP."""
