"""Tables of one feed meet in a listing, however fast files come and whichever of them is slow."""

from hypothesis import given
from hypothesis import strategies as st

from import_platform.core.feed import FeedFile
from import_platform.core.releases import Listing, has_read, next_listing, release_of

TABLES = ("a", "b", "c")


def file(name, tag=0):
    return FeedFile(str(name), 1, str(tag))


def test_a_table_that_is_behind_reads_the_latest_listing_not_what_came_since():
    latest = Listing(4, (file(1), file(2)))
    found = [file(1), file(2), file(3)]
    assert next_listing(latest, found, [file(1)]) == latest
    assert next_listing(latest, found, [file(1), file(2)]) == Listing(5, tuple(found))
    assert next_listing(latest, found[:2], found[:2]) == latest


def test_a_listing_of_which_a_file_changed_or_went_away_is_read_by_nobody_any_more():
    latest = Listing(4, (file(1), file(2)))
    assert next_listing(latest, [file(1), file(2, tag=9)], []).number == 5
    assert next_listing(latest, [file(1)], []) == Listing(5, (file(1),))


def test_a_release_needs_every_table():
    assert release_of({"a": 3}, ["a", "b"]) is None
    assert release_of({"b": 1, "a": 3, "old": 9}, ["a", "b"]) == {"a": 3, "b": 1}


@given(st.lists(st.tuples(st.sampled_from([*TABLES, "file", "change"]), st.integers(0, 3)), max_size=40))
def test_in_any_order_of_syncs_and_files_a_release_joins_equal_contents_and_three_syncs_later_there_is_one(steps):
    found, listings, manifests, points = {}, [], dict.fromkeys(TABLES, ()), {}
    released = []

    def sync(table):
        listing = next_listing(listings[-1] if listings else None, list(found.values()), manifests[table])
        if not listings or listing.number > listings[-1].number:
            listings.append(listing)
        assert has_read(found.values(), listing.files), "what is to be read is there"
        manifests[table] = listing.files
        points.setdefault(listing.number, {})[table] = listing.files
        if set(points[listing.number]) == set(TABLES):
            released.append(listing.number)

    for what, number in steps:
        if what == "file":
            found[number] = found.get(number, file(number))
        elif what == "change":
            found[number] = file(number, tag=len(listings) + 1)
        else:
            sync(what)
    before = len(released)
    for _ in range(2):
        for table in TABLES:
            sync(table)
    assert len(released) > before
    assert all(len({frozenset(files) for files in points[number].values()}) == 1 for number in released)
