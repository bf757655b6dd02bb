"""Parts of the service, put together as the tests of rooms need them."""
