"""Builders and fakes shared by the tests of several packages."""
