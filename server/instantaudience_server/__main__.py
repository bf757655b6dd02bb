"""What is run as `instant-audience`, and as `python -m instantaudience_server`."""

import signal


def main() -> None:
    """Run the command. Ctrl-C waits until the command's module is read, and ends it as it does from then on."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    from instantaudience_server.commands.root import main as command

    command()


if __name__ == "__main__":
    main()
