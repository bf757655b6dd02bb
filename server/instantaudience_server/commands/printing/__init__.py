"""Output of commands: tables for people, JSON for programs, progress bars, errors and exit statuses.

May use sending, of which it shows how far it is; it knows no command.
Used by every command.
"""
