"""Whatever a client sends, it gets a 4xx with a reason in one shape, and the server lives."""

import json
import socket
import time

import pytest

MODEL = b'"model": "classification"'
HEAD = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


def body(text: bytes) -> bytes:
    return b'{"model": "classification", "text": "' + text + b'"}'


HOSTILE = {
    "10 MB": (body(b"a" * 10_000_000), 413, "body_too_large"),
    "100,000 texts": (b'{"model": "classification", "texts": [' + b'"a",' * 99_999 + b'"a"]}', 422, "invalid_request"),
    "65 texts": (b'{"model": "classification", "texts": [' + b'"a",' * 64 + b'"a"]}', 422, "invalid_request"),
    "no texts": (b'{"model": "classification", "texts": []}', 422, "invalid_request"),
    "a long text": (body(b"a" * 1001), 422, "invalid_request"),
    "not UTF-8": (body(b"\xff\xfe"), 400, "not_json"),
    "half a character": (body("好".encode()[:2]), 400, "not_json"),
    "UTF-16": (body(b"x").decode().encode("utf-16"), 400, "not_json"),
    "a lone surrogate": (body(rb"\ud800"), 400, "not_json"),
    "surrogates the wrong way round": (body(rb"\udc00\ud800"), 400, "not_json"),
    "a NUL": (body(rb"a\u0000b"), 422, "invalid_request"),
    "a bare control character": (body(b"a\x07b"), 400, "not_json"),
    "an escape character": (body(rb"\u001b[31m"), 422, "invalid_request"),
    "deep lists": (b"[" * 200_000, 400, "not_json"),
    "deep objects": (b'{"text":' * 100_000, 400, "not_json"),
    "a deep text": (b"{" + MODEL + b', "text": ' + b"[" * 100 + b"]" * 100 + b"}", 422, "invalid_request"),
    "nothing": (b"", 400, "not_json"),
    "blanks": (b"  \n", 400, "not_json"),
    "cut off": (b'{"text": "a', 400, "not_json"),
    "more than one value": (b'{"text": "a"} {"text": "b"}', 400, "not_json"),
    "null": (b"null", 422, "invalid_request"),
    "a list": (b'["a"]', 422, "invalid_request"),
    "a number": (b"1e400", 422, "invalid_request"),
    "not a number": (b"{" + MODEL + b', "text": NaN}', 400, "not_json"),
    "a null text": (b"{" + MODEL + b', "text": null}', 422, "invalid_request"),
    "null texts": (b"{" + MODEL + b', "texts": null}', 422, "invalid_request"),
    "a null among texts": (b"{" + MODEL + b', "texts": ["a", null]}', 422, "invalid_request"),
    "a text that is a number": (b"{" + MODEL + b', "text": 12345678901234567890123}', 422, "invalid_request"),
    "an empty text": (body(b""), 422, "invalid_request"),
    "a blank text": (body("\u3000 \\n".encode()), 422, "invalid_request"),
    "an unknown key": (b"{" + MODEL + b', "text": "a", "__class__": 1}', 422, "invalid_request"),
    "no model": (b'{"text": "a"}', 422, "invalid_request"),
    "an unknown model": (b'{"model": "../../etc", "text": "a"}', 404, "unknown_model"),
    "a null model": (b'{"model": null, "text": "a"}', 422, "invalid_request"),
    "a form": (b"text=a", 400, "not_json"),
}


@pytest.fixture(autouse=True)
def the_server_lives(server):
    yield
    answer = server.ask(body={"model": "classification", "text": "房间很宽敞"})
    assert answer.status == 200 and server.process.poll() is None


def assert_refused(reply, status, code):
    assert (reply.status, reply.json()["error"]["code"]) == (status, code), reply.body[:300]
    assert set(reply.json()["error"]) <= {"code", "message", "where", "remedy"} and reply.json()["error"]["message"]
    assert reply.headers["content-type"] == "application/json"


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bodies(server, name):
    content, status, code = HOSTILE[name]
    assert_refused(server.ask(body=content), status, code)


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Content_Type": "text/plain"}, 415, "unsupported_media_type"),
        ({"Content_Type": "multipart/form-data; boundary=x"}, 415, "unsupported_media_type"),
        ({"Content_Type": "application/json; charset=gbk"}, 415, "unsupported_media_type"),
        ({"Content_Type": ""}, 415, "unsupported_media_type"),
        ({"Content_Encoding": "gzip"}, 415, "unsupported_media_type"),
    ],
)
def test_wrong_content_types(server, headers, status, code):
    assert_refused(server.ask(body=body(b"a"), **headers), status, code)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_wrong_methods(server, method):
    reply = server.ask(method=method)
    if method != "HEAD":  # which has no body
        assert_refused(reply, 405, "method_not_allowed")
    assert reply.status == 405 and reply.headers["allow"] == "POST"
    assert server.ask("/healthz", method="POST").headers["allow"] == "GET, HEAD"


def test_a_query_changes_nothing_of_the_page(server):
    reply = server.ask("/?content=rubbish&media=text/plain")
    assert reply.headers["content-type"].startswith("text/html") and b"<title>ernie-tiny</title>" in reply.body


@pytest.mark.parametrize(
    "path", ["/nope", "/v1/predict/../../etc/passwd", "/page.js/x", "/v1/%00", "/healthz/", "/" + "a" * 5000]
)
def test_unknown_paths(server, path):
    assert_refused(server.ask(path), 404, "not_found")


def test_a_chunked_body_is_bounded_too(server):
    chunk = b"10000\r\n" + b"a" * 0x10000 + b"\r\n"
    after = b"0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = server.raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 40, after)
    assert answer.startswith(b"HTTP/1.1 413 ") and b"body_too_large" in answer
    assert b"HTTP/1.1 200 " in answer, "the connection can be used on"


@pytest.mark.parametrize(
    "sent",
    [
        b"hello\r\n\r\n",
        b"GET / FTP/1.1\r\n\r\n",
        HEAD + b"Content-Length: -5\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n12345",
        HEAD + b"Bad Header: \x00\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 200_000,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS hello
    ],
)
def test_what_is_not_http(server, sent):
    assert server.raw(sent).startswith(b"HTTP/1.1 400 ")


def test_a_slash_at_the_end_leads_to_no_other_place(server):
    reply = server.ask("/v1/predict/", body={"text": "a"}, Host="evil.example")
    assert_refused(reply, 404, "not_found")
    assert "location" not in reply.headers and b"evil" not in reply.body


@pytest.mark.parametrize("path", [b"/v1/predict", b"/nowhere"])
@pytest.mark.parametrize("pause", [0, 0.2])
def test_a_bad_chunk_is_answered(server, path, pause):
    head = HEAD.replace(b"/v1/predict", path) + b"Transfer-Encoding: chunked\r\n\r\n"
    answer = server.raw(head, b"zz\r\nabc\r\n0\r\n\r\n", pause=pause)
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 404 "))
    assert not any("traceback" in entry for entry in server.logs())


CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n3\r\n{  \r\n"


@pytest.mark.parametrize("sent", [b"Content-Length: 100\r\n\r\n", b'Content-Length: 100\r\n\r\n{"te', CHUNKED])
def test_a_body_that_is_cut_off_is_answered(server, sent):
    answer = server.raw(HEAD + sent, ends=True)
    assert answer.startswith(b"HTTP/1.1 400 ") and b"the body was cut off" in answer


@pytest.mark.parametrize("count", [1, 3])
def test_a_client_that_ends_its_side_gets_what_it_asked_for(server, count):
    content = body("好".encode())
    sent = HEAD + b"Content-Length: %d\r\n\r\n" % len(content) + content
    assert server.raw(sent * count, ends=True).count(b"HTTP/1.1 200 ") == count


def test_rubbish_after_a_request(server):
    content = body("好".encode() * 100)
    sent = HEAD + b"Content-Length: %d\r\n\r\n" % len(content) + content
    answer = server.raw(sent + sent + b"\x00rubbish\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200 ") == 2 and answer.count(b"HTTP/1.1 400 ") == 1
    assert not any("traceback" in entry for entry in server.logs())


def test_a_client_whose_body_dribbles_gets_408(server):
    start = time.monotonic()
    answer = server.raw(HEAD + b"Content-Length: 100\r\n\r\n", *[b"a"] * 12, pause=0.3)
    assert answer.startswith(b"HTTP/1.1 408 ") and b'"slow_request"' in answer
    assert time.monotonic() - start < 5


def test_slow_clients_do_not_hold_up_others(server):
    slow = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(100)]
    try:
        for connection in slow:
            connection.sendall(HEAD)
        assert server.ask(body={"model": "classification", "text": "好"}).status == 200
    finally:
        for connection in slow:
            connection.close()


def test_clients_that_leave_early(server):
    content = json.dumps({"model": "classification", "texts": ["好"] * 60}).encode()
    for part in (len(content), 10):
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", server.port)) as connection:
                connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(content) + content[:part])
    deadline = time.monotonic() + 20
    while b'ernie_tiny_queue_rows{model="classification"} 0.0' not in server.ask("/metrics").body:
        assert time.monotonic() < deadline, "rows of clients that left stay in the queue"
        time.sleep(0.1)
