"""The installed command: `autollm train ...`, also as `python -m autollm train ...`."""

import sys
from typing import NoReturn

from autollm import cli, ladder, sample, train

COMMANDS = {"train": train.main, "sample": sample.main, "ladder": ladder.main}


def main() -> NoReturn:
    parser = cli.Parser(
        prog="autollm", description="A language model that learns to invent words in a second."
    )
    parser.add_argument(
        "command", choices=COMMANDS, help="train a model, sample from a saved one, or compare all models"
    )

    def command() -> int:
        options = parser.parse_args(sys.argv[1:2])
        return COMMANDS[options.command](sys.argv[2:])

    cli.end(command)


if __name__ == "__main__":
    main()
