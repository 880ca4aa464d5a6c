"""The Decoupled Meta Label Purifier (Tu et al., 2023)."""
