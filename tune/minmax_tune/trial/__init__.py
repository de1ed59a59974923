"""One trial: its trainings, and how they tell what they measure."""
