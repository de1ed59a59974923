"""What a search needs on several machines: files that start a cluster, and a check of its nodes."""
