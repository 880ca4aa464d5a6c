"""Cards of what is published: their text, and how they join a card that is there already."""
