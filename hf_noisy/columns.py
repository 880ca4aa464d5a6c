"""Column names used everywhere in the package."""

INDEX = "index"
LABEL = "label"
LABELS = "labels"
CLEAN_LABEL = "clean_label"
VOTES = "votes"
TEXT = "text"
IMAGE = "image"
