"""What every script shares at its edge: one-sentence errors and the command line."""

import dataclasses
import json
import logging
import shlex
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import tyro

Options = TypeVar("Options")


class UserError(Exception):
    """Something the user can mend: the message is one sentence that says what is wrong and what to do."""


def run_script(options: type[Options], main: Callable[[Options], object]) -> None:
    """Parse ``options`` (a frozen dataclass) from the command line and call ``main`` with it.

    ``UserError`` is printed as its one sentence and exits with status 2; Ctrl-C exits with 130.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        # The module docstring is the script's help; tyro prints the options below it.
        main(tyro.cli(options, description=sys.modules["__main__"].__doc__))
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("interrupted; the same command continues from the last checkpoint", file=sys.stderr)
        sys.exit(130)


def command_line() -> str:
    """The command that started this process, as a user would type it."""
    module = getattr(sys.modules["__main__"], "__spec__", None)
    name = f"-m {module.name}" if module and module.name != "__main__" else sys.argv[0]
    return f"python {name} {shlex.join(sys.argv[1:])}".strip()


def options_json(options: Any) -> dict[str, Any]:
    """A dataclass of options as plain JSON values (paths as strings, tuples as lists)."""
    return json.loads(json.dumps(dataclasses.asdict(options), default=str))


def print_dry_run(options: Any, **resolved: Any) -> None:
    """Print what a run would do, as JSON, without doing it."""
    print(json.dumps({"options": options_json(options), **resolved}, indent=2, default=str))
