"""The content key of each link: known from an earlier fetch, or fetched now if the user asked for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from ...blob import content_key
from ...messages import notify
from ...progress import step
from ...spec import BadItem
from .copies import NOT_FETCHED, keep_copy
from .fetch import Fetched, Known, fetch_all
from .link import Link
from .link_index import LinkIndex
from .settings import STORAGE
from .storage import require_storage

NOT_YET = "it is a link that was not fetched yet; `msa extract --remote` fetches it"


def resolve_links(
    links: Iterable[Link],
    cache: Path | None,
    *,
    limit: int,
    check: Callable[[bytes], object],
    rehash: bool = False,
    update: bool = True,
) -> Mapping[str, str | BadItem]:
    """The content key behind each distinct link, or why there is none; each link is fetched once.

    What the index of the cache, or of the kept copies, knows is not asked for again unless `rehash`, and then the
    server may answer that it is as it was. `check` raises BadItem for content that is no image; it is neither kept nor
    known, so that the next call asks again. Without `update` nothing is fetched and nothing written.
    """
    remotes = {link.url: link.remote for link in links}
    if not remotes:
        return {}
    remote = next(iter(remotes.values()))
    fetching = remote.fetch and update
    with LinkIndex(cache, update=update) as index, LinkIndex(remote.keep, update=update) as kept:
        known = kept.find(list(remotes)) | index.find(list(remotes))
        found: dict[str, str | BadItem] = {url: one.key for url, one in known.items()}
        wanted = [url for url in remotes if url not in known or (rehash and fetching)]
        if wanted and not remote.fetch:
            notify(f"not fetched: {len(wanted)} links to images; --remote fetches them")
        if not fetching:
            return found | {url: BadItem(NOT_YET if remote.fetch else NOT_FETCHED) for url in wanted}
        for scheme in sorted({url.partition("://")[0].lower() for url in wanted} & {*STORAGE}):
            require_storage(scheme)

        def take(url: str, outcome: Fetched | BadItem) -> str | BadItem:
            if isinstance(outcome, BadItem):
                return outcome
            if outcome.content is None:
                return known[url].key if url in known else BadItem("the server answers 304 to a first question")
            if len(outcome.content) > limit:
                return BadItem(f"over the limit of {limit / 1e6:.0f} MB for one image")
            try:
                check(outcome.content)
            except BadItem as error:
                return error
            new = Known(content_key(outcome.content), outcome.etag, outcome.modified)
            keep_copy(url, outcome.content, new, remote, kept)
            index.add(url, new)
            return new.key

        asked = ((url, known.get(url)) for url in wanted)
        for number, (url, outcome) in enumerate(fetch_all(asked, remote, limit=limit), 1):
            found[url] = take(url, outcome)
            step("fetching", number, len(wanted), "links")
    return found
