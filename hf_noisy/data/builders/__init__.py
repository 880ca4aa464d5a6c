"""Builders of the datasets that come with the library."""
