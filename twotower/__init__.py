"""The shared kernel: what both services, the trainer and the clients must agree on."""
