"""The service and the sandbox together: a scripted tour, and a prompt to play both people."""
