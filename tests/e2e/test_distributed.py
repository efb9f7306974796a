"""Two processes on the CPU train what one does, with the same losses; they stop and go on in another number."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

from paddle_ernie_tiny.seals import read_seal, write_seal

from .conftest import command, ernie_tiny


def halved(config):
    """Each process takes half of what one process took, so that the global batch is the same."""
    config["teacher"]["finetune"]["per_device_train_batch_size"] = 8
    config["baseline"]["per_device_train_batch_size"] = 8
    for stage in config["stages"]:
        stage["training"]["per_device_train_batch_size"] = 8


def history(run, step):
    return json.loads((run.root / step / "done.json").read_text(encoding="utf-8"))["result"]["history"]


@pytest.fixture(scope="module")
def by_two(finished, tmp_path_factory):
    """The finished run's steps after pre-training, made again by two processes. (run, what was printed)"""
    run = finished.copy(tmp_path_factory.mktemp("two"))
    halved(run.config)
    run.write()
    done = ernie_tiny("run", run.file, "--devices", "0,1", "--from-stage", "finetune")
    assert done.returncode == 0, done.stdout + done.stderr
    return run, done.stdout


@pytest.mark.parametrize("step", ["teacher/finetuned", "baseline", "stages/1-general", "stages/3-task_adaptive"])
def test_losses_equal_those_of_one_process(finished, by_two, step):
    run, _ = by_two
    alone, together = history(finished, step), history(run, step)
    losses = [[entry["loss"] for entry in entries if "loss" in entry] for entries in (alone, together)]
    assert losses[0] and losses[1] == pytest.approx(losses[0], rel=1e-4)
    terms = [{k: v for k, v in entry.items() if k.endswith("_loss")} for entry in together]
    for mine, entry in zip(terms, alone, strict=True):
        for name, value in mine.items():
            assert value == pytest.approx(entry[name], rel=1e-3, abs=1e-5), name


def test_only_one_process_speaks_and_the_run_is_whole(by_two):
    run, printed = by_two
    assert printed.count("[3/9] baseline: done") == 1
    report = json.loads((run.root / "report.json").read_text(encoding="utf-8"))
    assert report["student"]["score"] is not None
    assert (run.root / "bundle" / "manifest.json").is_file()


def test_ctrl_c_saves_and_one_process_carries_on(by_two, tmp_path):
    run = by_two[0].copy(tmp_path)
    longer = ["stages.general.training.max_steps=4000", "stages.general.training.save_steps=10"]
    arguments = command("run", run.file, "--devices", "0,1", "--until", "general", *longer)
    with subprocess.Popen(
        arguments,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored where tests run in the background
    ) as process:
        folder = run.root / "stages" / "1-general"
        deadline = time.time() + 200
        while not list(folder.glob("checkpoint-*/complete")) and time.time() < deadline and process.poll() is None:
            time.sleep(0.2)
        os.killpg(process.pid, signal.SIGINT)
        printed = process.communicate(timeout=120)[0].decode()
    assert process.returncode == 130, printed
    kept = [int(path.parent.name.partition("-")[2]) for path in folder.glob("checkpoint-*/complete")]
    assert kept and max(kept) < 4000, printed
    # the number of processes does not decide what a step is, its batch size does
    rest = [longer[0].replace("4000", str(max(kept) + 5)), longer[1]]
    inputs = read_seal(folder / "inputs.json")
    inputs["training"]["max_steps"] = max(kept) + 5
    write_seal(folder / "inputs.json", inputs)
    done = ernie_tiny("run", run.file, *rest, "--until", "general")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"resuming at step {max(kept)} of {max(kept) + 5}" in done.stdout


def test_two_processes_finish_what_was_cut_off_in_the_last_stage(by_two, tmp_path):
    """The main process then needs the corpus when it measures alone; the others must not be waited for."""
    run = by_two[0].copy(tmp_path)
    shutil.rmtree(run.root / "stages" / "4-task_specific")
    done = ernie_tiny("run", run.file, "--devices", "0,1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "general: already done" in done.stdout and (run.root / "report.json").is_file()


def test_two_machines_by_the_plain_launch_command(by_two, tmp_path):
    """Two launchers on one machine stand for two machines with a shared file system."""
    run = by_two[0].copy(tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        master = f"127.0.0.1:{free.getsockname()[1]}"
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])  # where ernie-tiny is installed
    nodes = []
    for node in range(2):
        arguments = [sys.executable, "-m", "paddle.distributed.launch", "--nnodes", "2", "--master", master]
        arguments += ["--rank", str(node), "--log_dir", str(tmp_path / f"log{node}"), "--nproc_per_node", "1"]
        arguments += ["ernie-tiny", "run", str(run.file), "--from-stage", "general", "--until", "general"]
        environment = {**os.environ, "PADDLE_DISTRI_BACKEND": "gloo", "PATH": path}
        nodes.append(subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT))
    printed = [node.communicate(timeout=300)[0].decode() for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], printed
    alone = [entry["loss"] for entry in history(by_two[0], "stages/1-general")]
    assert [entry["loss"] for entry in history(run, "stages/1-general")] == pytest.approx(alone, rel=1e-4)


def test_wrong_input_exits_2_whoever_finds_it(by_two):
    run, _ = by_two
    done = ernie_tiny("run", run.file, "--devices", "0,x")
    assert done.returncode == 2 and "not a list of device numbers: '0,x'" in done.stderr
    done = ernie_tiny("run", run.file, "data.train=nowhere.tsv", "--devices", "0,1")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "nowhere.tsv: no such file" in done.stdout + done.stderr
    assert "nowhere.tsv" not in (run.root / ".launch" / "workerlog.1").read_text(), "one process speaks"
