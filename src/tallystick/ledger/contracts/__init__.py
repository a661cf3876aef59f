"""Contracts: modules of typed messages and handlers over typed tables; they alone write state."""
