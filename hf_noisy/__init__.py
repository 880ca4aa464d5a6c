"""Learning with noisy labels on transformers' `Trainer`."""
