"""The evidence: the paper's experiments, its baselines and the controls, as searches whose trials are seeds."""
