"""The service over HTTP and its page: the same answers, bad requests, other sites."""

from __future__ import annotations

import http.client
import json
import shutil
import threading
import urllib.error
import urllib.parse
import urllib.request

import pytest
from hits import documents

from shoestring.match.search.index import Index
from shoestring.match.serve.server import Service, server


@pytest.fixture
def address(matcher, pairs, tmp_path):
    index = Index(tmp_path / "index", matcher)
    index.add(documents(pairs))
    with server(Service(matcher, index), port=0) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_address[1]}"
        listening.shutdown()
        thread.join()


def ask(address, data: bytes | None = None) -> tuple[int, dict]:
    try:
        with urllib.request.urlopen(address, data, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_the_service_answers_as_the_matcher_does(address, matcher):
    code, said = ask(address + "/match", json.dumps({"text1": "我喜欢猫", "text2": "请看猫"}).encode())
    expected = matcher.predict([("我喜欢猫", "请看猫")])
    assert code == 200
    assert said == {
        "score": pytest.approx(expected.scores[0]), "probability": pytest.approx(expected.probabilities[0]),
        "match": bool(expected.verdicts[0]), "cut": 0,
    }  # fmt: skip
    code, hits = ask(address + "/search", json.dumps({"query": "我喜欢猫", "k": 3}).encode())
    assert (code, len(hits["hits"])) == (200, 3)
    for more in ({}, {"hybrid": True}):
        code, hits = ask(
            address + "/search", json.dumps({"query": "a", "where": {"number": 3}, **more}).encode()
        )
        assert (code, [hit["metadata"]["number"] for hit in hits["hits"]]) == (200, [3])


def test_what_is_cut_is_said(address, matcher):
    """A character is a token of the tiny model."""
    most = matcher.model.max_seq_length
    for path, fields in (("/match", ("text1", "text2")), ("/search", ("query",))):
        for characters, cut in ((most // 2, 0), (most + 1, len(fields))):
            request = {name: name[-1] + "猫" * characters for name in fields}
            code, said = ask(address + path, json.dumps(request).encode())
            assert (code, said["cut"]) == (200, cut)


@pytest.mark.parametrize(
    ("path", "data", "code", "message"),
    [
        ("/match", b"{}", 400, "text1"), ("/match", b"[1]", 400, "object"), ("/match", b"no", 400, "not JSON"),
        ("/search", b'{"query": "a", "k": 0}', 400, "k 0"), ("/nothing", b"{}", 404, "there are"),
        ("/search", b'{"query": "a", "k": true}', 400, "k True"), ("/match", b"[" * 99999, 400, "not JSON"),
        ("/match", b'{"text1": "\\ud83d", "text2": "a"}', 400, "no whole character"),
        ("/match", b'{"text1": "a\\u0000", "text2": NaN}', 400, "text2"),
        ("/search", b'{"query": "a", "K": 3}', 400, "no such field; there are query, k, where, hybrid"),
        ("/search", b'{"query": "a", "where": "a=b"}', 400, "an object"),
        ("/search", b'{"query": "a", "where": {"nobody": 1}}', 400, "nobody"),
        ("/search", b'{"query": "a", "hybrid": 1}', 400, "true or false"),
        ("/match", b'{"text1": "a", "text2": "b", "one_way": true}', 400, "no such field"),
        ("/match", b'{"text1": " ", "text2": "a"}', 400, "not empty"), ("/match", b"0" * (1 << 21), 400, "at most"),
    ],
)  # fmt: skip
def test_bad_requests_are_answered(address, path, data, code, message):
    try:
        found, said = ask(address + path, data)
    except (ConnectionError, urllib.error.URLError):
        assert len(data) > 1 << 20  # the answer may come before all was sent
        return
    assert found == code
    assert message in said["error"]


def test_a_length_that_is_no_number_is_refused(address):
    place = urllib.parse.urlsplit(address)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=60)
    connection.request("POST", "/match", b"", {"Content-Length": "²"})
    assert connection.getresponse().status == 400


def test_the_page_works_in_a_browser(address):
    import subprocess

    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium")
    asked = {"text1": "我喜欢猫", "text2": "请看猫", "q": "昨天见到鱼了" * 30}
    query = urllib.parse.urlencode(asked)
    command = [
        browser,
        "--headless",
        "--no-sandbox",
        "--virtual-time-budget=20000",
        "--dump-dom",
        f"{address}/?{query}",
    ]
    page = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert 'class="verdict' in page
    assert "probability" in page
    assert page.count('class="scale"') == 11  # of the pair and of each hit
    assert "left: " in page  # of the mark: browsers drop what they cannot read
    assert page.count("<li>") == 10
    assert page.count("only the beginning counted.</p>") == 1  # of the long query


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, 200), ({"Host": "evil.example"}, 403), ({"Host": "LocalHost:80"}, 200), ({"Host": "[::1]:8808"}, 200),
        ({"Origin": "http://evil.example"}, 403), ({"Origin": "null"}, 403),
    ],
)  # fmt: skip
def test_no_other_site_reaches_the_service(address, headers, code):
    request = urllib.request.Request(address + "/match", b'{"text1": "a", "text2": "b"}', headers)
    assert ask(request)[0] == code
