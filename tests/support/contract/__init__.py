"""The contract: its examples, a model of it, generators of requests, and checks of responses."""
