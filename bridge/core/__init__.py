"""Pure: what a conversation is and what happens to it. No I/O, no SDK, no clock of its own."""
