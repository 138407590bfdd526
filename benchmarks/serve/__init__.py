"""The web service under load."""
