"""An XML stream cut into records by their tags, so that each can be parsed alone and a broken one harms no other.

Only the record's own tags are looked for. What stands between records goes through a parser of its own, which knows the
elements that are open around them; comments, CDATA and processing instructions are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
from lxml import etree

from import_platform.core.budget import format_bytes
from import_platform.sources.files.opened import FileDamaged
from import_platform.sources.files.xml_paths import local

READ_BYTES = 1 << 20
GROUP_BYTES = 1 << 16
"""Of records that are parsed at once: their tree stays in a processor's cache (the fastest of 16 kB to 1 MB)."""
OPEN_BYTES_MAX = 8 << 20
"""A record that holds the beginning of another one may be so long; beyond that its end was lost."""
ENTITIES_REFUSED = "the document declares entities, which are refused"
BROKEN_MAX = 10_000
"""A file with more broken records than this is not XML as anybody meant it."""
_TAG_END = re.compile(rb"""(?:[^"'>]++|"[^"]*+"|'[^']*+')*+>""")
_FIRST_TAG = re.compile(rb"""<[^\s<>!?/](?:[^"'>]++|"[^"]*+"|'[^']*+')*+>""")
_CLOSERS = {b"<!-": b"-->", b"<![": b"]]>", b"<?": b"?>"}
OPTIONS: dict[str, Any] = {
    "resolve_entities": False,
    "no_network": True,
    "load_dtd": False,
    "dtd_validation": False,
    "attribute_defaults": False,
    "huge_tree": False,
    "collect_ids": False,
    "remove_comments": True,
    "remove_pis": True,
}


def parser(*, is_lean: bool = False) -> Any:
    """One that asks nothing of a network, loads no DTD and expands no entity; it stops at the first error.

    A lean one leaves out white space between elements, which is in no value: a tenth less time. Beside a comment it
    would take white space of a value for such.
    """
    return etree.XMLParser(**OPTIONS, remove_blank_text=is_lean)


@dataclass(frozen=True)
class Group:
    """Records that stand beside each other. `opening` is the tag of an element with the namespaces around them,
    `number` that of the first of `count` records, `begins` where each begins in `data`, if that was looked for. Plain
    ones have no comments, CDATA or processing instructions."""

    number: int
    count: int
    data: bytes
    opening: bytes
    begins: tuple[int, ...] = ()
    is_plain: bool = False


@dataclass(frozen=True)
class Broken:
    """A record whose beginning or end is missing."""

    number: int
    reason: str
    data: bytes


class Cutter:
    """Mutable: the place in one stream. `number` counts the records so far.

    Memory: one record that is not complete yet, and two reads.
    """

    def __init__(self, tag: str, *, row_bytes_max: int) -> None:
        self._name = re.escape(local(tag)).encode()
        self._plain = re.compile(self._name + rb"(?=[\s/>])")
        self._careful = re.compile(rb"<!--|<!\[CDATA\[|<\?|" + self._plain.pattern)
        self._row_bytes_max = row_bytes_max
        self._around = _Around()
        self._regular = _Regular(b"")
        self._held = b""
        self._from = 0  # what stands before it is done
        self._at = 0  # where the search goes on
        self._depth = 0
        self._begins: list[int] = []
        self._group_end = 0
        self._broken = 0
        self.number = 0

    def cut(self, read: Callable[[int], bytes]) -> Iterator[Group | Broken]:
        """Raises FileDamaged: entities are declared, the file is no XML, or it ends too early; what came before is
        given first."""
        while True:
            data = read(READ_BYTES)
            self._held, self._at, self._from = self._held[self._from :] + data, self._at - self._from, 0
            self._begins = [0] if self._depth else []
            yield from self._regular_groups()
            yield from self._scan(at_end=not data)
            yield from self._grouped()
            if not data:
                break
            pending = len(self._held) - self._from
            if not self._depth and pending <= self._row_bytes_max:
                self._pass_on(self._at)
            elif pending > (OPEN_BYTES_MAX if self._depth > 1 else self._row_bytes_max):
                yield from self._give_up()
        yield from self._unfinished()
        self._pass_on(len(self._held))
        if not self._around.ended():
            raise self._damaged()

    def _damaged(self) -> FileDamaged:
        return FileDamaged(f"the file is no XML, or ends too early, after record {self.number}")

    def _regular_groups(self) -> Iterator[Group]:
        """As long as records simply follow each other, only their number is looked for."""
        if self._depth > 1 or len(self._held) - self._from > 4 * READ_BYTES or _has_special(self._held):
            return
        begin = self._from
        while (found := self._regular.group(self._held, begin)) is not None:
            begin, end, count = found
            self._depth, self._from, self._at = 0, end, end
            self._begins.clear()
            self.number += count
            opening = self._around.opening()
            yield Group(self.number - count + 1, count, self._held[begin:end], opening, is_plain=True)
            begin = end

    def _scan(self, *, at_end: bool) -> Iterator[Group | Broken]:
        held = self._held
        search = (self._careful if _has_special(held) else self._plain).search
        while (match := search(held, self._at)) is not None:
            begin, end = match.span()
            if held[begin] == _LESS:
                closer = _CLOSERS[held[begin : begin + 2 + (held[begin + 1] == _BANG)]]
                close = held.find(closer, end)
                if close < 0 and not at_end:
                    self._at = begin
                    return
                self._at = end if close < 0 else close + len(closer)
                continue
            opened, is_end = _tag_begin(held, begin, self._from)
            if opened < 0:
                self._at = end
                continue
            behind = self._tag_end(end)
            if behind < 0:
                self._at = opened
                return
            self._at = behind
            if is_end:
                yield from self._closed(behind)
            else:
                yield from self._opened(opened, end, behind)
        self._at = max(self._at, len(held) if at_end else held.rfind(b"<"))

    def _tag_end(self, begin: int) -> int:
        """Behind the `>` of a tag, which may stand in an attribute as well; -1 where it is not there yet."""
        found = self._held.find(b">", begin)
        if found < 0:
            return -1
        inside = self._held[begin:found]
        if inside.count(b'"') % 2 == 0 and inside.count(b"'") % 2 == 0:
            return found + 1
        match = _TAG_END.match(self._held, begin)
        return match.end() if match is not None else -1

    def _opened(self, opened: int, named: int, behind: int) -> Iterator[Group | Broken]:
        if not self._depth:
            gap = self._held[self._from : opened]
            if gap and not gap.isspace():
                yield from self._grouped()
                self._pass_on(opened)
            self._from = opened
            self._begins.append(opened)
            self._regular.learn(self._held[opened:named])
        if self._held[behind - 2] != _SLASH:
            self._depth += 1
        elif not self._depth:
            yield from self._complete(behind)

    def _closed(self, behind: int) -> Iterator[Group | Broken]:
        if self._depth > 1:
            self._depth -= 1
        elif self._depth:
            self._depth = 0
            yield from self._complete(behind)
        else:
            yield from self._grouped()
            if not self._around.known and (root := _FIRST_TAG.search(self._held, self._from, behind)) is not None:
                self._pass_on(root.end())
            yield self._reject("the record has no beginning", behind)

    def _complete(self, behind: int) -> Iterator[Group]:
        self.number += 1
        self._from = self._group_end = behind
        if behind - self._begins[0] >= GROUP_BYTES:
            yield from self._grouped()

    def _grouped(self) -> Iterator[Group]:
        begins, self._begins = self._begins, []
        if self._depth and begins:
            self._begins = [begins.pop()]
        if begins:
            first = begins[0]
            data, opening = self._held[first : self._group_end], self._around.opening()
            places = tuple(begin - first for begin in begins)
            yield Group(self.number - len(begins) + 1, len(begins), data, opening, places)

    def _pass_on(self, upto: int) -> None:
        """What stands between records goes to the elements around them."""
        gap, self._from = self._held[self._from : upto], max(upto, self._from)
        if gap and not gap.isspace():
            self._around.feed(gap, after=self.number)

    def _reject(self, reason: str, behind: int) -> Broken:
        self.number += 1
        self._broken += 1
        if self._broken > BROKEN_MAX:
            raise FileDamaged(f"the file has more than {BROKEN_MAX} broken records")
        data, self._from, self._at, self._depth = self._held[self._from : behind], behind, behind, 0
        self._begins.clear()
        return Broken(self.number, reason, data)

    def _give_up(self) -> Iterator[Group | Broken]:
        """A record that never ends: its beginning is set apart, up to where the next one begins."""
        second = self._second()
        if second < 0:
            wide = format_bytes(self._row_bytes_max)
            raise FileDamaged(f"record {self.number + 1} is wider than {wide}, which memory allows")
        yield self._reject("the record has no end", second)
        yield from self._scan(at_end=False)
        yield from self._grouped()

    def _unfinished(self) -> Iterator[Group | Broken]:
        """At the end of the file. Records behind one that has no end are whole all the same."""
        while self._depth and (second := self._second()) >= 0:
            yield self._reject("the record has no end", second)
            yield from self._scan(at_end=True)
            yield from self._grouped()
        if self._depth:
            raise self._damaged()

    def _second(self) -> int:
        """Where another record begins inside the one that is open."""
        for match in self._plain.finditer(self._held, self._from + 1):
            opened, is_end = _tag_begin(self._held, match.start(), self._from + 1)
            if opened >= 0 and not is_end:
                return opened
        return -1


_BEFORE_BYTES = 256
"""Of white space between two records, and the end tag before it. With more they are not called regular."""


class _Regular:
    """Records that follow each other with nothing but white space between, by their tag as it is written here."""

    def __init__(self, begin: bytes) -> None:
        self._begin = begin
        name = re.escape(begin[1:])
        self._end = b"</" + begin[1:] + b">"
        self._first = re.compile(rb"\s*+(?=<" + name + rb"[\s>])")
        self._begins = re.compile(b"<" + name + rb"[\s/>]")

    def learn(self, begin: bytes) -> None:
        if begin != self._begin:
            self.__init__(begin)  # type: ignore[misc]

    def group(self, held: bytes, at: int) -> tuple[int, int, int] | None:
        """Begin, end and number of records, or None where they are not regular. A record that holds another one, and
        one whose end is missing, is not."""
        first = self._first.match(held, at) if self._begin else None
        if first is None:
            return None
        begin = first.end()
        found = held.rfind(self._end, begin, begin + GROUP_BYTES)
        found = held.find(self._end, begin) if found < 0 else found
        if found < 0:
            return None
        end = found + len(self._end)
        begins = [one.start() for one in self._begins.finditer(held, begin, end)]
        is_regular = all(held[max(at - _BEFORE_BYTES, 0) : at].rstrip().endswith(self._end) for at in begins[1:])
        return (begin, end, len(begins)) if is_regular else None


def _has_special(data: bytes) -> bool:
    """Comments, CDATA, declarations or processing instructions."""
    if data.find(b"!") < 0 and data.find(b"?") < 0:
        return False
    signs = np.frombuffer(data, np.uint8)
    less = signs[:-1] == _LESS
    return bool((less & ((signs[1:] == _BANG) | (signs[1:] == _ASKS))).any())


def _tag_begin(held: bytes, name: int, least: int) -> tuple[int, bool]:
    """Where the tag begins whose local name stands at `name`, and whether it is an end tag; -1 where it is no tag."""
    opened = held.rfind(b"<", max(name - 64, least), name)
    if opened < 0:
        return -1, False
    is_end = held[opened + 1] == _SLASH
    lead = held[opened + 1 + is_end : name]
    if lead and (not lead.endswith(b":") or set(lead) & _NO_NAME):
        return -1, False
    return opened, is_end


_LESS, _BANG, _ASKS, _SLASH = b"<!?/"
_NO_NAME = frozenset(b" \t\r\n<>/='\"!?&;")


_ENOUGH = b"    "
"""The parser looks at nothing before it has four bytes."""


class _Around:
    """The elements that are open around records, by a parser that is fed what stands between them."""

    def __init__(self) -> None:
        self._stack: list[tuple[str, dict[str | None, str]]] = []
        self._gap: Any = None
        self._opening = b""
        self._is_told = False

    def feed(self, gap: bytes, *, after: int) -> None:
        if b"<!ENTITY" in gap:
            raise FileDamaged(ENTITIES_REFUSED)
        try:
            if self._gap is None:
                self._gap = etree.XMLPullParser(events=("start", "end"), **OPTIONS)
                tags = "".join(self._tag(name, spaces) for name, spaces in self._stack)
                self._gap.feed(tags.encode())
                self._stack = []
            self._gap.feed(gap + _ENOUGH)
            self._take()
        except etree.XMLSyntaxError:
            raise FileDamaged(f"the file is no XML behind record {after}") from None
        self._is_told = False

    def _take(self) -> None:
        for event, element in self._gap.read_events():
            if event == "start":
                prefix = f"{element.prefix}:" if element.prefix else ""
                self._stack.append((prefix + local(element.tag), dict(element.nsmap)))
                if len(self._stack) == 1:
                    self._refuse_entities(element)
            else:
                self._stack.pop()
                element.clear()

    @staticmethod
    def _refuse_entities(element: Any) -> None:
        doctype = element.getroottree().docinfo.internalDTD
        if doctype is not None and next(iter(doctype.iterentities()), None) is not None:
            raise FileDamaged(ENTITIES_REFUSED)

    @staticmethod
    def _tag(name: str, spaces: dict[str | None, str]) -> str:
        said = "".join(
            f" xmlns{':' + prefix if prefix else ''}={quoteattr(uri)}" for prefix, uri in spaces.items() if uri
        )
        return f"<{name}{said}>"

    @property
    def known(self) -> bool:
        """True when the file's first element was seen."""
        return bool(self._stack)

    def opening(self) -> bytes:
        """The tag of an element with the namespaces that hold here."""
        if not self._is_told:
            self._gap = None
            spaces = self._stack[-1][1] if self._stack else {}
            self._opening = self._tag("import_platform", spaces).encode()
            self._is_told = True
        return self._opening

    def ended(self) -> bool:
        """True when every element that was opened is closed."""
        return not self._stack
