"""`python -m tailora` is the command `tailora`."""

from tailora.cli import main

if __name__ == "__main__":
    main()
