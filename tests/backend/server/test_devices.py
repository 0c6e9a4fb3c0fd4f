import pytest

from backend.errors import BadInput
from backend.server import devices
from backend.server.devices import Device, device_line, find_devices, gpus_from

# As printed by nvidia-smi --query-gpu=index,name,memory.total,uuid --format=csv,noheader,nounits
TWO = "0, NVIDIA H100 80GB HBM3, 81559, GPU-5ae1e1d5-11\n1, NVIDIA H100 80GB HBM3, 81559, GPU-c0ffee00-22\n"


def test_gpus_are_read_from_the_drivers_table():
    assert gpus_from(TWO)[1] == Device("cuda:1", "NVIDIA H100 80GB HBM3", 81559 * 2**20)


@pytest.mark.parametrize("table", ["", "No devices were found\n", "0, x\n", "a, b, c, d\n"])
def test_what_is_no_table_has_no_gpus(table):
    assert gpus_from(table) == []


@pytest.mark.parametrize(
    ("visible", "titles"),
    [
        (None, ["first", "second"]),
        ("", []),
        ("-1", []),
        ("1", ["second"]),
        ("1,0", ["second", "first"]),
        ("0,7,1", ["first"]),  # CUDA sees none after a name that names none
        ("GPU-c0ffee", ["second"]),
    ],
)
def test_only_the_gpus_that_torch_will_see_are_there(visible, titles):
    found = gpus_from("0, first, 10, GPU-5ae1\n1, second, 10, GPU-c0ffee00\n", visible)

    assert [each.title for each in found] == titles
    assert [each.name for each in found] == [f"cuda:{number}" for number in range(len(titles))]


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
