"""The files, folders and addresses of a search: ``~`` and ``$VARIABLES`` are filled in, and passwords kept out."""

from __future__ import annotations

import os
import re
from pathlib import Path
from string import Template

from minmax_plugin.errors import ConfigError
from minmax_plugin.secrets import HIDDEN, exchange, hide, remember, secrets_of

_FILE = re.compile(r"(?P<kind>journal:|sqlite(?:\+\w+)?:///)(?P<path>.+)", re.DOTALL)
_taken_out: dict[str, str] = {}  # values of variables that stand for what an earlier version has stored


def home(place: str) -> str:
    """Fill in the home folder for the ``~`` of a path, or of the address of a file.

    Examples:
        >>> home("sqlite:///a~b.db"), home("journal:/shared/x"), home("configs/a.py")
        ('sqlite:///a~b.db', 'journal:/shared/x', 'configs/a.py')
        >>> "~" in home("sqlite:///~/x.db")
        False
    """
    match = _FILE.fullmatch(place)
    return match["kind"] + os.path.expanduser(match["path"]) if match else os.path.expanduser(place)


def absolute(address: str) -> str:
    """Make the path of the file in a storage's address absolute, if it is a file.

    Examples:
        >>> absolute("postgresql://$USER@host/searches")
        'postgresql://$USER@host/searches'
        >>> absolute("journal:/shared/optuna.log")
        'journal:/shared/optuna.log'
    """
    match = _FILE.fullmatch(home(address))
    if match is None or ":memory:" in match["path"] or os.path.isabs(os.path.expandvars(match["path"])):
        return home(address)
    return match["kind"] + str(Path(match["path"]).absolute())


def check_no_secret(flag: str, address: str) -> None:
    """Refuse an address that holds a password: it would be stored, and be visible in the process list.

    Args:
        flag: The option that gives the address.
        address: The address as given, without its variables filled in.

    Raises:
        ConfigError: If it holds one. The message names the option, but not the password.

    Examples:
        >>> check_no_secret("--storage", "postgresql://me:abc@host/db")
        Traceback (most recent call last):
        minmax_plugin.errors.ConfigError: --storage='postgresql://me:***@host/db' holds a password, which ...
    """
    if secrets_of(address):
        raise ConfigError(
            f"{flag}={shown(address)!r} holds a password, which would be stored and stand in the process list: put it "
            "into an environment variable and write '$VARIABLE' in its place, in single quotes; or leave it to the "
            "driver's own file, such as ~/.pgpass."
        )


def fill_in(flag: str, address: str) -> str:
    """Fill in the variables of an address. From now on their secrets are hidden in all texts.

    Args:
        flag: The option that gives the address.
        address: The address as given.

    Raises:
        ConfigError: If a variable is not set.

    Examples:
        >>> fill_in("--storage", "postgresql://me:$NO_SUCH@host/db")
        Traceback (most recent call last):
        minmax_plugin.errors.ConfigError: --storage='postgresql://me:$NO_SUCH@host/db': the variable NO_SUCH is ...
    """
    template, variables = Template(address), {**os.environ, **_taken_out}
    for name in template.get_identifiers():
        if name not in variables:
            raise ConfigError(f"{flag}={shown(address)!r}: the variable {name} is not set: export it.")
    filled = home(template.safe_substitute(variables))
    remember(filled)
    return filled


def know(address: str) -> None:
    """Hide the secrets of an address in a process that does not open it, if its variables are set there.

    Args:
        address: The address as given.
    """
    remember(os.path.expandvars(address))


def shown(address: str) -> str:
    """Return an address for people: as it was given, but without a password."""
    return hide(exchange(address, lambda secret: HIDDEN))


def take_out(field: str, address: str) -> str:
    """Replace the password of an address that an earlier version has stored by a variable.

    This process continues with the password. For the next one somebody has to set the variable.

    Args:
        field: The field of the options. The variable has its name.
        address: The address as it was stored.

    Examples:
        >>> take_out("example", "postgresql://me:abc@host/db")
        'postgresql://me:$SEARCH_EXAMPLE_PASSWORD@host/db'
        >>> fill_in("--example", "postgresql://me:$SEARCH_EXAMPLE_PASSWORD@host/db")
        'postgresql://me:abc@host/db'
    """

    def variable(secret: str) -> str:
        names = (f"SEARCH_{field.upper()}_PASSWORD{number}" for number in ("", *range(2, 10)))
        name = next(name for name in names if _taken_out.setdefault(name, secret) == secret)
        return f"${name}"

    return exchange(address, variable)


def without_password(address: str) -> str:
    """Return an address for a command line, where a password would be visible in the process list.

    Examples:
        >>> without_password("postgresql+psycopg://me:$PASSWORD@host/db")
        'postgresql+psycopg://me@host/db'
    """
    return re.sub(r"(://[^:/@]*):[^@]+@", r"\1@", address)
