"""The agent's side: everything that knows Amazon Connect."""
