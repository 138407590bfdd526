"""What goes wrong in production: each part does it on purpose and counts what comes of it."""
