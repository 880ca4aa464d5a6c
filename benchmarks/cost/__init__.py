"""What training and serving cost: each script measures one thing and writes one file of benchmarks/results."""
