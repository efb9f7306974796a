"""What Paddle Serving 0.9.0 needs on today's Pythons; imported before anything of it."""

import zlib  # noqa: F401  (Paddle 2.6 crashes in zlib if Paddle was imported first)

import collections  # isort: skip
import collections.abc  # isort: skip
import sys
import types

# Paddle Serving was written for Python 3.9, where this name still stood here.
collections.Iterable = collections.abc.Iterable  # type: ignore[attr-defined]

# The C++ client has builds for Python 3.6 to 3.9 only and needs libraries of CentOS 7. In pipeline mode the
# server imports its name, to ask whether a predictor is such a client; here it never is.
_client = types.ModuleType("paddle_serving_client")
_client.Client = type("Client", (), {})  # type: ignore[attr-defined]
sys.modules["paddle_serving_client"] = _client
