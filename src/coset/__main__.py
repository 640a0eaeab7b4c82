"""`python -m coset` is `coset`."""

from coset.cli import main

if __name__ == "__main__":
    main()
