"""What is kept of a failed exchange: an API that says back what it was sent tells nobody a secret."""

from __future__ import annotations

from base64 import b64encode, urlsafe_b64encode

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from import_platform.sources.http.evidence import HIDDEN, Exchange, Secrets

SECRET = "cAnArY+5f/1d:9e@77"


@given(st.binary(max_size=5), st.binary(max_size=5), st.sampled_from([b64encode, urlsafe_b64encode]))
def test_a_secret_is_hidden_inside_a_base64_text_wherever_it_begins(before, after, encode):
    text = encode(before + SECRET.encode() + after).decode()
    hidden = Secrets([SECRET]).hidden(text)
    assert HIDDEN in hidden
    kept = len(hidden) - len(HIDDEN)
    assert kept <= len(text) - len(SECRET) * 4 // 3 + 4, "at most the characters that it shares with its neighbours"


@pytest.mark.parametrize("said", [SECRET, "cAnArY%2B5f%2F1d%3A9e%4077", f'{{"error": "{SECRET}"}}'])
def test_a_secret_is_hidden_as_it_is_and_as_a_url_has_it(said):
    assert "cAnArY" not in Secrets([SECRET]).hidden(said)


def test_a_secret_with_quotes_and_accents_is_hidden_in_json():
    secret = 'p"ä\\ss-word'
    for said in ('"p\\"ä\\\\ss-word"', '"p\\"\\u00e4\\\\ss-word"'):
        assert "ss-word" not in Secrets([secret]).hidden(said)


def test_a_token_that_was_fetched_for_the_request_is_hidden_in_what_comes_back():
    request = requests.Request("GET", "http://127.0.0.1/x", headers={"Authorization": "Bearer fetched-t0ken"}).prepare()
    answer = requests.Response()
    answer.status_code, answer._content = 500, b'{"you": "Bearer fetched-t0ken", "said": "a Bearer of news"}'
    kept = Exchange.of(request, answer, Secrets([]))
    assert "t0ken" not in repr(kept)
    assert "a Bearer of news" in kept.answer
