"""`twotower demo`: from a review file to recommendations over gRPC, every part in a process of its own."""
