"""The customer's side: everything that knows Slack."""
