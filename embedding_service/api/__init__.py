"""The gRPC boundary: check, convert, call, convert."""
