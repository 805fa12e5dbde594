"""The bridge between Slack and Amazon Connect."""

__version__ = "0.1.0"
