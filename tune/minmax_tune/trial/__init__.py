"""One trial: its trainings, and the reports of their measurements."""
