"""What training leaves behind: trajectories of embeddings and logits, and scores made of them."""
