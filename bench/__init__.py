"""What the bridge costs, against the least that its job can cost and against a plain recipe."""
