import pytest

from backend.errors import BadInput
from backend.server import devices
from backend.server.devices import Device, device_line, find_devices, gpus_from

# As printed by nvidia-smi --query-gpu=index,name,memory.total --format=csv,noheader,nounits
TWO = "0, NVIDIA H100 80GB HBM3, 81559\n1, NVIDIA H100 80GB HBM3, 81559\n"


def test_gpus_are_read_from_the_drivers_table():
    assert gpus_from(TWO)[1] == Device("cuda:1", "NVIDIA H100 80GB HBM3", 81559 * 2**20)


@pytest.mark.parametrize("table", ["", "No devices were found\n", "0, x\n", "a, b, c\n"])
def test_what_is_no_table_has_no_gpus(table):
    assert gpus_from(table) == []


def test_without_a_gpu_it_is_the_processor(monkeypatch):
    monkeypatch.setattr(devices, "_gpus", lambda: [])

    assert [each.name for each in find_devices(())] == ["cpu"]
    with pytest.raises(BadInput, match="cuda:0; it must be one of cpu"):
        find_devices(("cuda:0",))


def test_all_gpus_or_those_that_are_wanted(monkeypatch):
    monkeypatch.setattr(devices, "_gpus", lambda: gpus_from(TWO))

    assert [each.name for each in find_devices(())] == ["cuda:0", "cuda:1"]
    assert [each.name for each in find_devices(("cuda:1", "cpu"))] == ["cuda:1", "cpu"]


def test_equal_devices_are_counted_in_the_line():
    assert device_line(gpus_from(TWO)) == "2 x NVIDIA H100 80GB HBM3"
    assert len(device_line([Device("cuda:0", f"{number} " + "x" * 90) for number in range(9)])) == 200
