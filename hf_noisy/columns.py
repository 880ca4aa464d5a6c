"""Column names used everywhere in the package."""

INDEX = "index"
LABEL = "label"
LABELS = "labels"
CLEAN_LABEL = "clean_label"
VOTES = "votes"
TEXT = "text"
IMAGE = "image"
SECOND_VIEW = "second_view_"  # begins the names of the inputs of a second view of the same rows
