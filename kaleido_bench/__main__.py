"""`python -m kaleido_bench` is `kbench`."""

from kaleido_bench.cli import main

if __name__ == "__main__":
    main()
