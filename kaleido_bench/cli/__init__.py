"""The command line: one small file per command (parse, call, print). Importing it imports no torch and no numpy."""


def main() -> None:
    """The console script."""
    from kaleido_bench.cli.app import build_app

    build_app()(prog_name="kbench")
