"""The command `hf-noisy`: inject, audit, purify, apply and train without writing Python."""
