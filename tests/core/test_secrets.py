"""What is hidden of a text or of settings, and what is not."""

import io
import sys
import traceback

import pytest

from minmax_plugin import secrets
from minmax_plugin.secrets import hide, hide_in, paths_of_secrets, remember, secrets_of, show_traceback

SECRET = "S3cr3t"

URLS = [
    "postgresql://me:S3cr3t@host/db",
    "postgresql+psycopg://:S3cr3t@host:5432/db?connect_timeout=3",
    "mysql+pymysql://me:a@b:S3cr3t@host/db",
    "postgresql://me:a/S3cr3t@host/db",
    "POSTGRESQL://me:S3cr3t@host/db?name=a@b",
    "postgresql://host/db?user=me&password=S3cr3t",
    "postgresql://host/db?sslmode=require&sslpassword=S3cr3t&a=b",
    "mssql+pyodbc:///?odbc_connect=DRIVER%3DA%3BPWD%3DS3cr3t%3BSERVER%3Dhost",
    "https://host/api?access_token=S3cr3t",
    "https://host/api?api_key=S3cr3t#top",
]


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("around", ["{}", "cannot open '{}': refused", '{{"url": "{}"}}', "first {}\nthen"])
def test_the_secret_of_a_url_is_hidden_and_the_rest_is_there(url, around):
    hidden = hide(around.format(url))
    assert SECRET not in hidden
    assert "***" in hidden
    assert hidden.startswith(around.format(url)[:8])
    assert secrets_of(url), url
    assert hide(hidden) == hidden


PLAIN = [
    "https://host:8080/a@b",
    "postgresql://me@host:5432/db",
    "postgresql+psycopg://me:$PASSWORD@host/db?sslpassword=${OTHER}",
    "file:///a/b:c@d",
    "configs/a@b.py: 3 of 4",
    "token_dim=8, max_token=9",
]


@pytest.mark.parametrize("text", PLAIN)
def test_what_is_no_secret_stays(text):
    assert hide(text) == text


def test_an_address_has_no_port_where_a_user_may_have_a_password():
    assert secrets_of("postgresql://me:1234/S3cr3t@host/db") == ["1234/S3cr3t"], "as SQLAlchemy reads it"
    assert secrets_of("postgresql://host:5432/db") == secrets_of("postgresql://me:$PASSWORD@host:5432/db?a=$B") == []


VARIABLES = [
    ("PGPASSWORD", "hunter22", True),
    ("WANDB_API_KEY", "hunter22", True),
    ("NEPTUNE_API_TOKEN", "hunter22", True),
    ("AWS_SECRET_ACCESS_KEY", "hunter22", True),
    ("MLFLOW_TRACKING_PASSWORD", "hunter22", True),
    ("RAY_AUTH_TOKEN", "hunter22", True),
    ("DB_PASS", "hunter22", True),
    ("MYSQL_PWD", "hunter22", True),
    ("TOKENIZERS_PARALLELISM", "hunter22", False),
    ("RAY_AUTH_TOKEN_PATH", "hunter22", False),
    ("COMPASS", "hunter22", False),
    ("SOME_TOKEN", "1", False),  # it would be hidden everywhere
]


@pytest.mark.parametrize(("name", "value", "hidden"), VARIABLES)
def test_a_variable_s_name_tells_whether_its_value_is_hidden(monkeypatch, name, value, hidden):
    monkeypatch.setenv(name, value)
    assert hide(f"login as '{value}'.") == f"login as '{'***' if hidden else value}'."


def test_a_short_value_is_hidden_as_a_whole_word_alone(monkeypatch):
    monkeypatch.setenv("PGPASSWORD", "postgres")
    assert hide("postgresql://host and postgres") == "postgresql://host and ***"


def test_what_was_remembered_is_hidden_in_each_of_its_forms(monkeypatch):
    monkeypatch.setattr(secrets, "_remembered", set())
    remember("postgresql://me:it%27s%20%22mine%22%2F@host/db")
    for form in ("it%27s%20%22mine%22%2F", 'it\'s "mine"/', repr('it\'s "mine"/')[1:-1], 'it\'s \\"mine\\"/'):
        assert hide(f"<{form}>") == "<***>"


SETTINGS = [
    (
        {"log_config": {"hooks": [{}, {"init_kwargs": {"api_token": "eyJhcGlfYWRkcmVz"}}]}},
        ["log_config.hooks.1.init_kwargs.api_token"],
    ),
    ({"tracking_uri": "https://me:S3cr3t@host"}, ["tracking_uri"]),
    ({"a": ("x", "https://me:S3cr3t@host")}, ["a.1"]),
    ({"db": {"password": "abc"}}, ["db.password"]),
    ({"apiKey": "0123456789abcdef"}, ["apiKey"]),
    (
        {"secret_access_key": "0123456789abcdef", "wandb_token": "0123456789abcdef"},
        ["secret_access_key", "wandb_token"],
    ),
    ({"note": "the value of a variable"}, ["note"]),
    ({"real_img_key": "real_imgs", "fake_key": "fake_img_long", "token_dim": "a long text", "cls_token": True}, []),
    ({"mask_token": "[MASK]", "password": "", "api_key": "$WANDB_API_KEY", "tokens": [1, 2], "keys": ["images"]}, []),
]


@pytest.mark.parametrize(("settings", "paths"), SETTINGS)
def test_a_setting_s_name_or_value_tells_whether_it_is_a_secret(monkeypatch, settings, paths):
    monkeypatch.setenv("MY_TOKEN", "the value of a variable")
    assert list(paths_of_secrets(settings)) == paths
    hidden = hide_in(settings)
    assert (hidden == settings) is (not paths)
    assert list(paths_of_secrets(hidden)) == []
    assert hidden.keys() == settings.keys()


def test_an_exception_that_nobody_catches_is_shown_without_secrets(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    try:
        raise ValueError("cannot open postgresql://me:S3cr3t@host/db")
    except ValueError:
        show_traceback(*sys.exc_info())
        whole = traceback.format_exc()
    assert sys.stderr.getvalue() == whole.replace(SECRET, "***")
