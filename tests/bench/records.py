"""A small benchmark whose figures are made up, for the tests of what is shown."""

from minivid.bench import report
from minivid.bench.cases import Group, conv2d, maxpool2d

MACHINE = {
    "cpu": "a CPU",
    "system": "Linux x86_64",
    "threads": 2,
    "vector_bytes": 32,
    "flops_per_second": 200e9,
    "bytes_per_second": 20e9,
}


def a_record(with_peer=True):
    """Two groups, one neighbour, a ladder and memory."""
    conv, pool = conv2d(1, 2, 12, 10), maxpool2d(1, 4, 10, 2, 2)
    ours, theirs = "channels last", "channels first"
    groups = []
    for key, title, target, case, seconds, peer_seconds, kept_seconds in [
        ("conv3x3-forward", "Convolution", 1.5, conv, 2e-6, 4e-6, 3e-6),
        ("maxpool", "Pool", 5.0, pool, 1e-6, 0.5e-6, 0.25e-6),
    ]:
        sides = [(seconds, ours), *([(peer_seconds, theirs), (kept_seconds, theirs)] if with_peer else [])]
        groups.append(report.group_record(Group(key, title, target, [case]), [sides], MACHINE))
    other = conv2d(1, 2, 13, 10, base=conv.name)
    neighbours = Group("neighbours", "Neighbouring shapes", 0.75, [conv, other], with_peer=False)
    groups.append(report.group_record(neighbours, [[(2e-6, ours)], [(4e-6, ours)]], MACHINE))
    side = {"baseline_mb": 100.0, "peak_mb": 300.0}
    peer = {"baseline_mb": 200.0, "peak_mb": 450.0}
    sides = {"minivid": side, "PyTorch": peer} if with_peer else {"minivid": side}
    times = {"reference": (1e-3, ours), "tiled": (2e-6, ours)}
    ladder = report.ladder_record("conv2d", conv2d(2, 2, 12, 10), conv, times, MACHINE)
    return {
        "date": "2030-01-02",
        "device": "cpu",
        "versions": {"minivid": "0.1.0"} | ({"PyTorch": "2.0"} if with_peer else {}),
        "machine": MACHINE,
        "instructions": "native",
        "quick": False,
        "rounds": 9,
        "busy_cores": 0.02,
        "groups": groups,
        "ladders": [ladder],
        "memory": report.memory_record(sides, 5, [20, 220], [250.0, 251.5]),
    }


def a_gpu_record():
    """One group of one case, timed on three sides."""
    machine = {key: MACHINE[key] for key in ("system", "threads", "flops_per_second", "bytes_per_second")}
    sides = [(2e-6, "channels last"), (1.5e-6, "channels last, graph"), (0.5e-6, "channels last")]
    group = Group("conv3x3-forward", "Convolution", 0.7, [conv2d(1, 2, 12, 10)], floor=0)
    machine = {"gpu": "a GPU"} | machine
    return a_record() | {
        "device": "gpu",
        "machine": machine,
        "groups": [report.group_record(group, [sides], machine)],
        "ladders": [],
        "memory": None,
    }
