"""What a user's program runs on: artifacts, models, training, data files. Imports numpy and the standard library."""
