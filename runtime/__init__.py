"""What a user's program runs on: models, training, data, artifacts. Knows nothing of the compiler."""
