"""The examples of deployment, as far as they can be checked without systemd or a container engine running."""

import re
import shutil
import subprocess
import sys

import pytest
import typer

from paddle_ernie_tiny.cli import app
from paddle_ernie_tiny.deploy.server.options import ServeOptions


def test_the_unit_is_one_that_systemd_takes(project_root, tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    unit = (project_root / "examples" / "deploy" / "ernie-tiny.service").read_text(encoding="utf-8")
    installed = unit.replace("/usr/local/lib/ernie-tiny/bin/ernie-tiny", sys.executable)  # verify wants it to exist
    (tmp_path / "ernie-tiny.service").write_text(installed, encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / "ernie-tiny.service")], capture_output=True, text=True
    )
    assert done.returncode == 0 and "ernie-tiny.service" not in done.stderr, done.stderr


@pytest.mark.parametrize("name", ["ernie-tiny.service", "Containerfile"])
def test_options_of_the_examples_exist(project_root, name):
    text = (project_root / "examples" / "deploy" / name).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith(("ExecStart", "ENTRYPOINT"))]
    known = {option for p in typer.main.get_command(app).commands["serve"].params for option in p.opts}
    used = set(re.findall(r"--[a-z-]+", " ".join(lines)))
    assert used and used <= known


def test_the_limits_of_the_proxy_fit_the_servers(project_root):
    text = (project_root / "examples" / "deploy" / "nginx.conf").read_text(encoding="utf-8")
    given = dict(re.findall(r"^ +(\w+) (\d+)s?;", text, flags=re.MULTILINE))
    options = ServeOptions()
    assert int(given["client_max_body_size"]) == options.max_body_bytes
    assert int(given["client_header_timeout"]) == int(given["client_body_timeout"]) == options.body_seconds
    assert int(given["proxy_read_timeout"]) > options.request_seconds
    assert text.count("{") == text.count("}") and f"server 127.0.0.1:{options.port};" in text


def test_what_the_container_copies_exists(project_root):
    text = (project_root / "examples" / "deploy" / "Containerfile").read_text(encoding="utf-8")
    for line in re.findall(r"^COPY (.*) /src", text, flags=re.MULTILINE):
        for path in line.split():
            assert (project_root / path).exists(), path
