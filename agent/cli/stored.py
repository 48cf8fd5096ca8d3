"""Opening a site's database for a command that runs beside the agent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.config import SiteConfig, load_site
from agent.errors import StoreError
from agent.store import DATABASE, Store


@contextmanager
def site_store(config: Path) -> Iterator[Store]:
    """The store of the site that `config` describes.

    Raises:
        ConfigError: the site file is wrong.
        StoreError: the agent has not made the store yet, or it cannot be opened.
    """
    with site_and_store(config) as (_, store):
        yield store


@contextmanager
def site_and_store(config: Path) -> Iterator[tuple[SiteConfig, Store]]:
    """The site that `config` describes, with its store.

    Raises:
        ConfigError, StoreError: as `site_store`.
    """
    site = load_site(config)
    path = site.state_dir / DATABASE
    if not path.exists():
        raise StoreError(f"{path} does not exist; start the agent: hashmargin run --config {config}")
    store = Store(path, site.site.id)
    try:
        yield site, store
    finally:
        store.close()
