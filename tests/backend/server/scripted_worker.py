"""A worker as a small process: it speaks the link, makes "steps", and misbehaves where it is told to by its name.

It counts steps in run/count, which stands for a checkpoint, and appends its process number to run/processes.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import zmq

from backend.server import link
from backend.server.message_files import write_message
from protocol.messages import Finished

STEPS = 10


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--link")
    parser.add_argument("--name")
    parser.add_argument("--habit", default="good")
    options = parser.parse_args()
    socket = zmq.Context.instance().socket(zmq.DEALER)
    socket.identity = options.name.encode()
    socket.linger = 1000
    socket.connect(options.link)
    say(socket, "ready", pid=os.getpid())
    while True:
        order = link.read_order(socket.recv_multipart())
        if order["order"] == "stop":
            return
        if order["order"] == "run":
            run(socket, order, options.habit)


def say(socket, name, **fields):
    socket.send_multipart(link.event_frames(link.event(name, **fields)))


def run(socket, order, habit):
    job, folder = order["job"], Path(order["folder"])
    (folder / "run").mkdir(exist_ok=True)
    with (folder / "run" / "processes").open("a") as file:
        file.write(f"{os.getpid()}\n")
    count = folder / "run" / "count"
    step = int(count.read_text()) if count.exists() else 0
    say(socket, "started", job=job, device=os.environ["CUDA_VISIBLE_DEVICES"] or "cpu", total_steps=STEPS, step=step)
    while step < STEPS:
        is_to_misbehave = step == 5 and order["attempt"] == 1 and habit != "good"
        is_silent = is_to_misbehave and habit not in ("dies", "exits")
        patience = float(os.environ.get("PATIENCE", 1.0)) if is_silent else 60.0
        say(socket, "beat", job=job, step=step, patience_seconds=patience)
        if is_to_misbehave:
            misbehave(habit)
        time.sleep(0.02)
        step += 1
        count.write_text(str(step))
        if socket.poll(0) and link.read_order(socket.recv_multipart())["order"] == "stop":
            sys.exit(0)
    write_message(folder / "result.message", Finished(job=job, step=step))
    say(socket, "finished", job=job, step=step)


def misbehave(habit):
    time.sleep(0.5)  # until the last beat has left: the thread that sends it is about to be stopped too
    if habit == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    elif habit == "is-stopped":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif habit == "hangs":
        time.sleep(1000)
    elif habit == "exits":
        sys.exit(3)
    elif habit == "waits-with-child":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
        Path(os.environ["CHILD_FILE"]).write_text(str(child.pid))
        time.sleep(1000)


if __name__ == "__main__":
    main()
