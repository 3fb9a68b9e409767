"""The use case: batches, scores, reranking, explanations."""
