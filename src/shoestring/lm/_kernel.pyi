"""The kernel in lm/kernel: products of few-bit weights with rows of float32, and blocks; arguments are addresses."""

def level() -> int: ...
def tiled8(
    x: int,
    rows: int,
    levels: int,
    scale: int,
    bias: int,
    y: int,
    outputs: int,
    inputs: int,
    threads: int,
    level: int,
) -> None: ...
def tiled4(
    x: int,
    rows: int,
    levels: int,
    scale: int,
    zero: int,
    bias: int,
    y: int,
    outputs: int,
    inputs: int,
    threads: int,
    level: int,
) -> None: ...
def blocks_bytes(model: bytes, lines: int, room: int, threads: int) -> int: ...
def blocks(
    model: bytes,
    x: int,
    rows: int,
    count: int,
    cosines: int,
    sines: int,
    pads: int,
    held: bytes,
    seen: int,
    room: int,
    memory: int,
    threads: int,
    level: int,
) -> None: ...
