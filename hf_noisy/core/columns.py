"""Column names used everywhere in the package."""

ROW_NUMBER = "hf_noisy_row"  # in training batches, added outside of the user's collator; no model has such an input
LABEL = "label"
LABELS = "labels"
CLEAN_LABEL = "clean_label"
CHECKED_LABEL = "checked_label"  # the class that a person found; missing where nobody looked
VOTES = "votes"
TEXT = "text"
TEXT_PAIR = "text_pair"  # the second text of a sentence pair
TOKENS = "tokens"  # the words of a sentence, with a list of tags as its label
IMAGE = "image"
FEATURES = "features"  # frozen vectors of an encoder
SECOND_VIEW = "second_view_"  # begins the names of the inputs of a second view of the same rows

# What purification adds to a row.
LABEL_GIVEN = "label_given"
LABEL_POSTERIOR = "label_posterior"
LABEL_CONFIDENCE = "label_confidence"
LABEL_CHANGED = "label_changed"
LABEL_CHECKED = "label_checked"
LABEL_WEIGHT = "label_weight"
PURIFIER = "purifier"
ROW_GIVEN = "row_given"  # where a row stood before some were dropped

# What an audit adds.
LABEL_QUALITY = "label_quality"
LABEL_SUSPECTED = "label_suspected"
LABEL_SUGGESTED = "label_suggested"
