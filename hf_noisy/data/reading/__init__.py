"""Reading of files and folders as people have them, without a change that is not reported."""
