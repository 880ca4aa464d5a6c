"""`NoisyTrainer`, its checkpoints, distillation and the choice of a method."""
