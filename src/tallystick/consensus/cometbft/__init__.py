"""CometBFT as an engine: it runs beside a node as a process of its own and orders transactions."""
