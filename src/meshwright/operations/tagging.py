"""Tags: at most 50 an object, each key once, keys with `aws:` reserved.

The one rule: tagging changes nothing but the tags; the object's version and times stay.
Source: https://docs.aws.amazon.com/app-mesh/latest/userguide/using-tags.html
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from meshwright.errors import BadRequestException, TooManyTagsException

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meshwright.model.specs import TagRef

MOST_TAGS = 50
"""User tags that an object may carry."""


def refuse_tags(tags: tuple[TagRef, ...]) -> None:
    """Raise what is wrong with tags given in one call.

    Raises:
        BadRequestException: a key appears twice or is reserved, or there are too many.
    """
    if not tags:
        return
    if len(tags) > MOST_TAGS:
        raise BadRequestException(f"A request can carry at most {MOST_TAGS} tags; this one carries {len(tags)}.")
    twice = sorted(key for key, count in Counter(tag.key for tag in tags).items() if count > 1)
    if twice:
        raise BadRequestException(f"Tag keys must be unique; these appear more than once: [{', '.join(twice)}]")
    reserved = sorted(tag.key for tag in tags if tag.key.lower().startswith("aws:"))
    if reserved:
        raise BadRequestException(f"Tag keys must not start with aws:, which is reserved: [{', '.join(reserved)}]")


def tagged(before: tuple[TagRef, ...], added: tuple[TagRef, ...], arn: str) -> tuple[TagRef, ...]:
    """`before` with `added` put in or replaced, in order of keys.

    Raises:
        BadRequestException: as in `refuse_tags`.
        TooManyTagsException: the object would carry more than 50.
    """
    refuse_tags(added)
    values = {tag.key: tag for tag in (*before, *added)}
    if len(values) > MOST_TAGS:
        raise TooManyTagsException(
            f"Resource {arn} would have {len(values)} tags; a resource can have at most {MOST_TAGS}."
        )
    return ordered(values.values())


def untagged(before: tuple[TagRef, ...], keys: tuple[str, ...]) -> tuple[TagRef, ...]:
    """`before` without `keys`; those that are not there do not matter."""
    return tuple(tag for tag in before if tag.key not in keys)


def ordered(tags: Iterable[TagRef]) -> tuple[TagRef, ...]:
    """The tags in order of their keys."""
    return tuple(sorted(tags, key=lambda tag: tag.key))
