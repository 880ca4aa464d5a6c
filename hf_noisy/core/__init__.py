"""What every room stands on: column names, whole files, keyed random numbers, checks."""
