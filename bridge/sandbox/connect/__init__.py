"""A local Amazon Connect: control plane, Participant Service, socket and attachment URLs."""
