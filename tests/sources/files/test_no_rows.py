"""Files that show no row any more, and files of which none can be read."""

import gzip

import pytest

EMPTIED = {
    "empty": ("q.csv", b""),
    "header only": ("q.csv", b"id,a\n"),
    "gone": ("q.csv", None),
    "cut": ("q.csv.gz", gzip.compress(b"id,a\n1,x\n2,y\n")[:20]),
    "no gzip": ("q.csv.gz", b"junk"),
}


@pytest.mark.parametrize("case", EMPTIED)
@pytest.mark.parametrize("words", [{}, {"version": "file"}, {"delete_when": {"column": "a", "value": "-"}}], ids=repr)
def test_rows_with_a_key_stay_when_their_file_shows_none_any_more(feed, case, words):
    name, data = EMPTIED[case]
    feed = feed("q.csv*", primary_key=["id"], format="csv", **words)
    whole = b"id,a\n1,x\n2,y\n"
    path = feed.put(name, gzip.compress(whole) if name.endswith("gz") else whole)
    feed.sync()
    path.unlink() if data is None else path.write_bytes(data)
    report = feed.sync()
    assert report.rows_deleted == 0
    assert feed.rows("id", "a") == [(1, "x"), (2, "y")]
    path.write_bytes(gzip.compress(b"id,a\n2,z\n3,-\n") if name.endswith("gz") else b"id,a\n2,z\n3,-\n")
    feed.sync()
    assert feed.rows("id", "a") == [(1, "x"), (2, "z"), *([] if "delete_when" in words else [(3, "-")])]


def test_a_full_refresh_that_is_asked_for_takes_them_away(feed):
    feed = feed("q.csv", primary_key=["id"])
    feed.put("q.csv", "id,a\n1,x\n2,y\n")
    feed.sync()
    feed.put("q.csv", "id,a\n")
    feed.sync(full_refresh=True)
    assert feed.rows("id", "a") == []
