"""Training dynamics: recorded embeddings and logits, and scores computed from them."""
