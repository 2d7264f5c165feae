"""Reads a QR code off a terminal, as a phone would."""

from __future__ import annotations

import zxingcpp
from PIL import Image

BLOCKS = {"█": (255, 255), "▀": (255, 0), "▄": (0, 255), " ": (0, 0)}


def find(text: str) -> str | None:
    """What the last complete code in a terminal's output holds, if there is one."""
    lines = text.splitlines()
    runs: list[list[str]] = []
    for before, line in zip(["", *lines], lines, strict=False):
        if len(line) > 20 and set(line) <= BLOCKS.keys():
            if runs and before == runs[-1][-1] or (runs and len(before) == len(line) and set(before) <= BLOCKS.keys()):
                runs[-1].append(line)
            else:
                runs.append([line])
    for lines in reversed(runs):
        side = len(lines[0])
        if len(lines) < side // 2:
            continue
        rows: list[int] = []
        for line in lines:
            rows += [BLOCKS[char][0] for char in line] + [BLOCKS[char][1] for char in line]
        image = Image.new("L", (side, 2 * len(lines)))
        image.putdata(rows)
        scaled = image.resize((4 * side, 8 * len(lines)), Image.Resampling.NEAREST)
        for code in zxingcpp.read_barcodes(scaled):
            return str(code.text)
    return None
