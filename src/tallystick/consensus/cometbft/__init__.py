"""Consensus among nodes: CometBFT orders, the kernel executes behind ABCI 2.0."""
