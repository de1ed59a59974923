"""Measurements of time: what a step, a search and an import cost."""
