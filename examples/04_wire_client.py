"""The specification is enough for a client: 04_wire_client.py tcp://127.0.0.1:5710 "a mug" STEPS writes mesh.obj."""

import json
import sys
import uuid

import numpy as np
import zmq

socket = zmq.Context().socket(zmq.DEALER)


def send(kind: str, request: int | None = None, **fields: object) -> None:
    socket.send_json({"protocol": 1, "type": kind, "request": request, "fields": fields})


socket.linger = 0
socket.connect(sys.argv[1])
send("ClientHello", program="example", software_version="1")
send("SubmitJob", 1, key=uuid.uuid4().hex, task="text", prompt=sys.argv[2], settings={"steps": int(sys.argv[3])})
kind = ""
while kind != "Finished":
    while not socket.poll(1000):
        send("Heartbeat")
    header, *frames = socket.recv_multipart()
    kind, fields, arrays = (json.loads(header)[name] for name in ("type", "fields", "arrays"))
    if kind == "SubmitAccepted":
        send("WatchJob", 2, job=fields["job"], channels=["progress"])
    elif kind == "Progress":
        print(f"{fields['step']}/{fields['total_steps']} {fields['stage']}", flush=True)
        send("Heartbeat")
    elif kind == "JobState" and fields["status"] in ("finished", "cancelled", "failed"):
        send("FetchResult", 3, job=fields["job"])
    elif kind in ("Refused", "Failed"):
        sys.exit(fields["sentence"])
shapes = [np.frombuffer(data, each["dtype"]).reshape(each["shape"]) for each, data in zip(arrays, frames, strict=True)]
positions, faces = (shapes[fields["mesh"][name]["array"]] for name in ("positions", "faces"))
with open("mesh.obj", "w") as file:
    np.savetxt(file, positions[:, [0, 2, 1]] * [1, 1, -1], "v %f %f %f")  # from Z up to Y up
    np.savetxt(file, faces + 1, "f %d %d %d")
