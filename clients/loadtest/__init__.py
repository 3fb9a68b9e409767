"""The load test: `locustfile.py`, run by Locust (docs/how-to/load-test.md)."""
