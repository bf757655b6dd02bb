"""Parts of the service, assembled for the tests of modules."""
