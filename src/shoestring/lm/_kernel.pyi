"""The kernel in lm/kernel: products of few-bit weights with rows of float32, and blocks; arguments are addresses."""

def level() -> int: ...
def product(
    x: int,
    rows: int,
    levels: int,
    scale: int,
    zero: int,
    unit: int,
    bias: int,
    y: int,
    outputs: int,
    inputs: int,
    bits: int,
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
