"""DyGEN: a prior and a Dirichlet VAE on training dynamics, and the posterior of the true label."""
