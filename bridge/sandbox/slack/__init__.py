"""A local Slack: Web API, Socket Mode, HTTP events and files on one port."""
