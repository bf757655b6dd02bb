"""The contract: its examples, a model of it, what it lets callers send, and what they see."""
