"""A local Slack and a local Connect that speak the real protocols."""
