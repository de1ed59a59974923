"""The space that is sampled: search spaces, and settings of a config by path."""
