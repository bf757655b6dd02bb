"""`python -m instantaudience_server` is `instant-audience`."""

from instantaudience_server.cli import main

main()
