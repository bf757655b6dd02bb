"""`python -m instantaudience_server` is `instant-audience`."""

from instantaudience_server.commands.root import main

main()
