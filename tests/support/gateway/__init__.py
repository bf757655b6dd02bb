"""The gateway in an Envoy of its own, in front of upstreams that tests provide."""
