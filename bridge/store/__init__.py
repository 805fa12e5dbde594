"""What survives a restart: Redis, its scripts, and the records kept in it."""
