"""What every room uses: column names, whole files, keyed random numbers, checks, tasks."""
