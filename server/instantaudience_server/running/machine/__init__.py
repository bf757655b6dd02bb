"""What the machine gives to processes and asks of them: memory, open files, time to run, signs to its service manager.

May use process, settings and observation. Used by the rest of running, and by commands to tell the service manager.
"""
