"""Finds passwords and tokens in texts and settings, and hides them before those are written or shown."""

from __future__ import annotations

import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any
from urllib.parse import quote, unquote

HIDDEN = "***"
SHORT = 12  # a shorter value is hidden as a whole word alone: "postgres" is no part of "postgresql"
LEAST = {"remembered": 4, "variable": 6, "setting": 8}  # characters that a value has, to be taken for a secret

_PASSWORD = r"(?:password|passwd|passphrase)"
_TOKEN = r"(?:token|secret|(?:api|access|private|secret|auth)_?key)"
_VARIABLE = re.compile(rf"(?:{_PASSWORD}|{_TOKEN}|_PASS|_PWD)(?:_?\d+)?$", re.IGNORECASE)  # not TOKEN_FILE
_SETTING = re.compile(rf"(?:^|_|api|auth|access|client){_TOKEN}$", re.IGNORECASE)
_REFERENCE = re.compile(r"(?:\$\w+|\$\{\w+\})+")

# scheme://user:SECRET@host; in a text, where a URL may be any, no port in its place. ?password=SECRET;
# password=SECRET of a driver's own line.
_AFTER_USER = r"(?P<before>\b[a-z][a-z0-9+.-]{0,30}://[^\s:/@'\"]*:)"
_URL = re.compile(_AFTER_USER + r"(?!\d+(?:[/\s'\"]|$))(?P<secret>[^\s'\"@]+(?:@[^\s'\"@/?]*)*)(?=@)", re.IGNORECASE)
_WHOLE_URL = re.compile(_AFTER_USER + r"(?P<secret>[^@]+(?:@[^@/?]*)*)(?=@)", re.IGNORECASE)  # with spaces, quotes
_NAMED = rf"(?:[?&]\w*(?:{_PASSWORD}|{_TOKEN})|(?:^|\s)(?:ssl)?{_PASSWORD}|(?:\b|%3B)PWD)"
_QUERY = re.compile(rf"(?P<before>{_NAMED}(?:=|%3D))(?P<secret>[^\s&;'\"#%]+(?:%(?!3B)[^\s&;'\"#%]+)*)", re.IGNORECASE)

_remembered: set[str] = set()


def hide(text: str) -> str:
    """Replace each secret of a text by ``***``.

    A secret is the password of a URL, or of a database driver's line. So is the value of an environment variable whose
    name says so, and every remembered secret.

    Args:
        text: The text that is about to be written or shown.

    Examples:
        >>> hide("cannot connect to postgresql://me:abc@host/db?sslpassword=def")
        'cannot connect to postgresql://me:***@host/db?sslpassword=***'
        >>> hide("postgresql://me:$PASSWORD@host:5432/db")
        'postgresql://me:$PASSWORD@host:5432/db'
    """
    variables = {v for name, v in os.environ.items() if _VARIABLE.search(name) and len(v) >= LEAST["variable"]}
    for value in sorted(variables | _remembered, key=len, reverse=True):
        if value in text:
            text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)" if len(value) < SHORT else re.escape(value), HIDDEN, text)
    for pattern in (_URL, _QUERY):
        text = pattern.sub(lambda m: m[0] if _known(m["secret"]) else m["before"] + HIDDEN, text)
    return text


def exchange(address: str, by: Callable[[str], str]) -> str:
    """Replace each secret that an address holds itself, not as ``$VARIABLE``.

    Args:
        address: A URL and nothing else.
        by: A function that returns the replacement of a secret.

    Examples:
        >>> exchange("postgresql://me:abc@host/db", str.upper), exchange("postgresql://me:$PASSWORD@host/db", str.upper)
        ('postgresql://me:ABC@host/db', 'postgresql://me:$PASSWORD@host/db')
    """
    for pattern in (_WHOLE_URL, _QUERY):
        address = pattern.sub(lambda m: m[0] if _known(m["secret"]) else m["before"] + by(m["secret"]), address)
    return address


def secrets_of(address: str) -> list[str]:
    """List the secrets that an address holds itself.

    Args:
        address: A URL and nothing else.

    Examples:
        >>> secrets_of("postgresql://me:abc@host/db"), secrets_of("postgresql://me:$PASSWORD@host/db")
        (['abc'], [])
    """
    found: list[str] = []
    exchange(address, lambda secret: found.append(secret) or secret)  # type: ignore[func-returns-value]
    return found


def remember(address: str) -> None:
    """Remember the secrets of an address, so that :func:`hide` hides them in any text from now on.

    Args:
        address: A URL, with its variables filled in.

    Examples:
        >>> remember("postgresql://me:a%2Fremembered@host/db")
        >>> hide("password authentication failed with 'a/remembered'")
        "password authentication failed with '***'"
    """
    for secret in secrets_of(address):
        plain = unquote(secret)
        for form in (secret, plain, quote(plain, safe=" +"), quote(plain, safe="")):
            written = {form, repr(form)[1:-1], json.dumps(form)[1:-1]}
            _remembered.update(text for text in written if len(text) >= LEAST["remembered"])


def hide_in(settings: Any, name: str = "") -> Any:
    """Copy settings with ``***`` in place of each secret, for readers who may see the rest.

    Args:
        settings: The settings: nested dicts, lists and tuples of plain values.
        name: The setting's own name, which may say that it is a secret.

    Examples:
        >>> hide_in({"token_dim": 8, "init_kwargs": {"project": "a", "api_token": "eyJhcGlfYWRkcmVz"}})
        {'token_dim': 8, 'init_kwargs': {'project': 'a', 'api_token': '***'}}
    """
    if isinstance(settings, Mapping):
        return {key: hide_in(value, str(key)) for key, value in settings.items()}
    if isinstance(settings, (list, tuple)):
        return type(settings)(hide_in(value, name) for value in settings)
    if not isinstance(settings, str):
        return settings
    named = re.search(_PASSWORD + "$", name, re.IGNORECASE) or (
        _SETTING.search(name) and len(settings) >= LEAST["setting"]
    )
    return HIDDEN if named and settings and not _known(settings) else hide(settings)


def paths_of_secrets(settings: Any, path: str = "", name: str = "") -> Iterator[str]:
    """Yield the paths of the secrets in settings.

    Args:
        settings: The settings, as for :func:`hide_in`.
        path: The path of the settings themselves.
        name: The name of the settings themselves.

    Examples:
        >>> list(paths_of_secrets({"hooks": [{"uri": "https://me:abc@host"}], "real_img_key": "real_imgs"}))
        ['hooks.0.uri']
    """
    if isinstance(settings, Mapping):
        for key, value in settings.items():
            yield from paths_of_secrets(value, f"{path}.{key}".lstrip("."), str(key))
    elif isinstance(settings, (list, tuple)):
        for index, value in enumerate(settings):
            yield from paths_of_secrets(value, f"{path}.{index}".lstrip("."), name)
    elif isinstance(settings, str) and hide_in(settings, name) != settings:
        yield path


def show_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Show an uncaught exception without secrets, in place of ``sys.excepthook``."""
    sys.stderr.write(hide("".join(traceback.format_exception(kind, error, trace))))


def _known(secret: str) -> bool:
    """Whether a text in a secret's place is no secret: a variable's name, or the mark that :func:`hide` leaves."""
    return secret == HIDDEN or bool(_REFERENCE.fullmatch(secret))
