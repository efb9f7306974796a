"""Does memory grow? A run of many steps, and a server under mixed load."""

from __future__ import annotations

import json
import shutil
import statistics
import threading
import time
from http.client import HTTPConnection, HTTPException
from typing import Any

import psutil
import yaml

from tests.bundles import make_bundles
from tests.serving import RunningServer, serving

from .commands import Command
from .harness import Outcome, Part
from .miniature import miniature

_TRAINING_GROWTH, _SERVER_GROWTH = 0.02, 0.05
_MINUTES = 10.0


class Memory(Part):
    """Two cases: a stage of as many steps as are counted, and a server for `minutes`.

    Growth is the median of the last tenth of all samples against that of the second tenth: before it, caches fill.
    """

    name, unit, whole = "memory", "steps", 10_000
    bar = "memory of a run of 10,000 steps grows by less than 2 %, a server's under mixed load by less than 5 %"

    def cases(self, count: int) -> list[dict[str, Any]]:
        """One run of `count` steps, one server."""
        return [{"steps": count}, {"minutes": self.minutes or _MINUTES}]

    def attack(self, case: dict[str, Any]) -> Outcome:
        """Samples the memory of one process."""
        samples = self._train(case["steps"]) if "steps" in case else self._serve(case["minutes"])
        limit = _TRAINING_GROWTH if "steps" in case else _SERVER_GROWTH
        grown = growth(samples)
        facts = {"growth_percent": round(100 * grown, 2), "samples": len(samples), "mb": round(samples[-1] / 2**20, 1)}
        good = grown < limit
        detail = f"{100 * grown:.2f} % in {case}, {samples[0] >> 20} to {samples[-1] >> 20} MB"
        return Outcome("flat" if good else "grown", detail, case.get("steps", 0), facts)

    def figures(self, lines: list[dict[str, Any]]) -> dict[str, Any]:
        """Growth of both."""
        return {"training" if "steps" in line["case"] else "server": line["facts"] for line in lines}

    def _train(self, steps: int) -> list[int]:
        """Resident bytes while the general stage trains; the steps before it are those of the reference."""
        made = miniature(self.work, "plain")
        root, log = self.work / "memory", self.work / "logs" / "memory.log"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(made.reference, root)
        config = yaml.safe_load(made.file.read_text(encoding="utf-8"))
        config["stages"][0]["training"].update(
            max_steps=steps, save_steps=max(1, steps // 10), logging_steps=steps // 10
        )
        file = self.work / "memory.yaml"
        file.write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
        command = Command.start(["run", str(file), f"output_dir={root}", "--until", "general"], log)
        process = psutil.Process(command.process.pid)
        samples: list[int] = []
        begun = command.wait_until(lambda: "re-running" in command.text, 120)
        while begun and command.alive:
            if not command.text.rstrip().endswith("done"):
                samples.append(process.memory_info().rss)
            time.sleep(0.05)
        if command.finish(1) != 0 or len(samples) < 20:
            raise RuntimeError(f"the run failed: {command.text[-500:]}")
        return samples

    def _serve(self, minutes: float) -> list[int]:
        """Resident bytes of a server under four clients that send rows of many sizes, good and wrong."""
        folder = self.work / "bundles"
        if not (folder / "made").is_file():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            make_bundles(folder)
            (folder / "made").touch()
        (self.work / "memory-server").mkdir(exist_ok=True)
        end, samples = time.monotonic() + 60 * minutes, []
        with serving(self.work / "memory-server", f"classification={folder / 'classification'}") as server:
            clients = [threading.Thread(target=_client, args=(server, number, end)) for number in range(4)]
            for client in clients:
                client.start()
            process = psutil.Process(server.process.pid)
            while time.monotonic() < end:
                samples.append(process.memory_info().rss)
                time.sleep(min(1.0, minutes / 4))
            for client in clients:
                client.join()
        return samples


def _client(server: RunningServer, number: int, end: float) -> None:
    """Sends one request after another until `end`."""
    turn = number
    connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
    while time.monotonic() < end:
        turn += 1
        rows = [1, 2, 8, 64, 256][turn % 5]
        body: Any = {"texts": ["房间很宽敞" * (1 + (turn + row) % 40) for row in range(rows)]}
        if turn % 7 == 0:
            body = {"texts": [None], "x": turn}
        try:
            connection.request("POST", "/v1/predict", json.dumps(body), {"Content-Type": "application/json"})
            connection.getresponse().read()
        except (OSError, HTTPException):
            connection.close()
            connection = HTTPConnection("127.0.0.1", server.port, timeout=30)


def growth(samples: list[int]) -> float:
    """The share by which the last tenth's median is above the second tenth's."""
    tenth = max(1, len(samples) // 10)
    early, late = statistics.median(samples[tenth : 2 * tenth]), statistics.median(samples[-tenth:])
    return late / early - 1
