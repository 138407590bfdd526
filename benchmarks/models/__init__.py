"""The Transformer runtime beside its peers."""
