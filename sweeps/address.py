"""The address of a shared database, and the password that it may have."""

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from gan.errors import ConfigError


def split_password(address: str) -> tuple[str, str | None]:
    """An address without its password, and that. Raises ConfigError."""
    try:
        url = make_url(address)
    except (SQLAlchemyError, ValueError) as error:
        raise ConfigError("search.storage", "an address that SQLAlchemy can read", address) from error
    query = dict(url.query)
    password = query.pop("password", None) or url.password
    bare = URL.create(url.drivername, url.username, None, url.host, url.port, url.database, query)
    return bare.render_as_string(hide_password=False), str(password) if password is not None else None
