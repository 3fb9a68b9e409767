"""The loaded releases, the queue in front of their encoders, and the service's health."""
