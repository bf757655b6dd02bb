"""The gateway in an Envoy of its own, in front of whatever a test has it lead to."""
