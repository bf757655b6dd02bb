"""What commands print: tables for people, JSON for programs, and how far they are.

May use sending, of which it shows how far it is; it knows no command.
Used by every command.
"""
