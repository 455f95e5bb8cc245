"""`gpuboard gpus --topology`: the matrix of links, laid out as `nvidia-smi topo -m` does."""

from __future__ import annotations

from typing import Any

from gpuboard.cli.tables import Cell, Column, print_table

_MEANINGS = {
    "NV": "NV#  linked by # NVLinks, directly or through switches",
    "PIX": "PIX  through one PCIe switch",
    "PXB": "PXB  through several PCIe switches",
    "PHB": "PHB  through a PCIe host bridge, the CPU's",
    "NODE": "NODE through several host bridges of one NUMA node",
    "SYS": "SYS  from one NUMA node to another",
    "": "?    not known",
}


def print_topology(answer: dict[str, Any]) -> None:
    """Print which devices are linked how, near which CPUs, and what the words mean."""
    devices = answer["devices"]
    if not devices:
        print("no GPUs")
        return
    kinds = {link["kind"] for link in answer["links"]}
    between = {frozenset((link["a"], link["b"])): link["words"] for link in answer["links"]}
    columns = [
        Column("GPU"),
        *(Column(device["label"]) for device in devices),
        Column("CPUS", least=6),
        Column("NUMA NODE"),
        Column("NAME", least=6),
    ]
    rows: list[list[str | Cell]] = []
    for device in devices:
        row: list[str | Cell] = [device["label"]]
        for other in devices:
            pair = frozenset((device["label"], other["label"]))
            words = "X" if other is device else between.get(pair, "?")
            row.append(Cell(words, "good" if words.startswith("NV") else ""))
            kinds |= {""} if words == "?" else set()
        node = device["numa_node"]
        row += [device["cpus"] or "?", "?" if node is None else str(node), device["name"]]
        rows.append(row)
    print_table(columns, rows)
    print()
    for kind, meaning in _MEANINGS.items():
        if kind in kinds:
            print(meaning)
    for linked in answer["nvlink_sets"]:
        print(f"all linked by NVLink: GPU {', '.join(linked)}")
