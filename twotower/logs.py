"""Logs of the services: one line an event, to standard error."""

import logging


def configure_logging(service: str, level: str = "INFO") -> None:
    """Log `level` and above with time and service name."""
    logging.basicConfig(level=level, format=f"%(asctime)s %(levelname)s {service} %(name)s: %(message)s", force=True)
