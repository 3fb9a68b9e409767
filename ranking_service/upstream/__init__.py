"""What ranking asks the embedding service for: features of a batch, live popularity."""
