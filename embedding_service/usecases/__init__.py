"""What the service does: users' features, imports, popularity."""
