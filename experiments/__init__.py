"""The paper's experiments: what each method reaches, as searches whose trials are seeds."""
