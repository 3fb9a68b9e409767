"""What a sample is made of: ALS, as-of histories, negatives, popularity."""
