"""Cards of models and datasets, and how they are published."""
