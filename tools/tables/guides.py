"""The tables of the guides, each empty while its result is not there."""

from __future__ import annotations

from tables.results import result


def trainers() -> str:
    """Returns the table of tokenizer trainers."""
    measured = result("tokenizer")
    if measured is None:
        return ""
    rows = [
        f"| {name} | {row['cpu_seconds']:.1f} | {row['characters_per_token']:.2f} | {row['frequent_words_whole']:.0%} |"
        for name, row in measured["trainers"].items()
    ]
    return "\n".join(
        ["| trainer | CPU s | characters per token | frequent words whole |", "|---|---|---|---|", *rows]
    )


ENGINES = {
    "naive jieba loop": "naive jieba loop",
    "libraries only (rjieba repaired), 2 workers": "libraries only: rjieba and jieba's HMM, exact, two workers",
    "rjieba loop (not exact)": "rjieba loop (not exact)",
    "kernel, 1 worker": "**the kernel, one worker**",
    "kernel, 2 workers": "**the kernel, two workers**",
}


def engines() -> str:
    """Returns the table of whole counting jobs."""
    measured = result("count")
    if measured is None:
        return ""
    words = measured["words"]
    naive = words["naive jieba loop"]
    rows = [
        f"| {label} | {words[name]['cpu']:.1f} | {words[name]['seconds']:.1f} "
        f"| {naive['seconds'] / words[name]['seconds']:.1f} | {words[name]['peak_mb']} |"
        for name, label in ENGINES.items()
    ]
    head = "| {:.0f} MB of text | CPU s | seconds | times naive | peak MB |".format(words["bytes"] / 1e6)
    note = f"Load of the machine before the run: {measured['load']['words']:.1f}."
    return "\n".join([head, "|---|---|---|---|---|", *rows, "", note])


def goals() -> str:
    """Returns what was aimed at in counting, and what was reached."""
    measured = result("count")
    if measured is None:
        return ""
    ratios, memory = measured["words"]["ratios"], measured["memory"]
    words, grams = (memory[f"{name}, --memory 512MB"] for name in ("words", "4-grams"))
    twos = measured.get("runs of two words", {}).get("two over one")
    size = memory["bytes"] / 1e6
    rows = [
        ("times the naive loop, two workers", "130", ratios["kernel on 2 workers over naive"]),
        ("the same on ten times the text", "200", ratios["kernel on 2 workers over naive, ten times the text"]),
        ("the same per process, one worker", "50", ratios["kernel on 1 worker over naive"]),
        ("times rjieba, CPU seconds", "4", ratios["CPU seconds, rjieba over kernel"]),
        ("times the naive loop with libraries only", "20", ratios["libraries only, 2 workers, over naive"]),
        ("one worker over two", "1.7", ratios["scaling 1 to 2"]),
        ("what counting adds to cutting", "25 %", f"{measured['overhead of counting']['overhead']:.0%}"),
        *([("two words over one, seconds (CPU)", "1.5", f"{twos['seconds']} ({twos['cpu']})")] if twos else []),
        (f"{size:.0f} MB, words, `--memory 512MB`: peak", "662 MB", f"{words['peak_mb']} MB, {words['seconds']:.1f} s"),
        (
            f"the same, 4-grams ({grams['distinct'] / 1e6:.1f} million distinct)", "1000 MB",
            f"{grams['peak_mb']} MB, {grams['seconds']:.0f} s",
        ),
        ("2.2 GB by the naive loop", "", f"{ratios['2.2 GB naive, minutes']:.0f} minutes"),
        ("2.2 GB by the kernel, at the rate of the tenfold text", "",
         f"{ratios['2.2 GB kernel on 2 workers, seconds']:.0f} s"),
    ]  # fmt: skip
    return "\n".join(
        ["| | goal | measured |", "|---|---|---|", *(f"| {a} | {b} | {c} |" for a, b, c in rows)]
    )


def peers() -> str:
    """Returns the table of other counters, their wall clock over ours."""
    measured = result("count")
    if measured is None:
        return ""
    rows = []
    for kind in ("already segmented", "4-grams"):
        found = {
            name: row for name, row in measured[kind].items() if isinstance(row, dict) and "times_ours" in row
        }
        said = [
            f"{name} {row['times_ours']} ({row['peak_mb']} MB)"
            for name, row in sorted(found.items(), key=lambda item: item[1]["times_ours"])
        ]
        ours = measured[kind]["shoestring, 2 workers"]
        rows.append(
            f"| {kind}, {measured[kind]['bytes'] / 1e6:.0f} MB | {ours['seconds']:.1f} s ({ours['peak_mb']} MB) "
            f"| {', '.join(said)} |"
        )
    return "\n".join(["| text | ours | others, times ours |", "|---|---|---|", *rows])


def new_words() -> str:
    """Returns the table of shares of found words that a dictionary has."""
    measured = result("count_new_words")
    if measured is None:
        return ""
    rows = []
    for text in ("newspaper", "reviews"):
        listed, bare = (measured[text][name] for name in ("with the list", "without it"))
        for label, values in ((text, listed), (f"{text}, without the list of function words", bare)):
            every, new = values["all"], values["new"]
            cells = [
                f"{every[name]['100']:.0%}, {every[name]['1000']:.1%}; {new[name]['100']:.0%}"
                for name in ("ours", "by count", "PMI x entropy", "PMI + entropy")
            ]
            rows.append(f"| {label} | {every['found']:,}; {new['found']:,} | {' | '.join(cells)} |")
    head = "| text | found; new | **ours** | by count | PMI x entropy | PMI + entropy |"
    return "\n".join([head, "|---|---|---|---|---|---|", *rows])


WAYS = {
    "ours": "**shoestring**",
    "x-transformers": "x-transformers",
    "written out": "the formula written out",
    "plain attention": "plain attention, fused (no talking heads)",
}


def attention() -> str:
    """Returns the table of talking heads in time and memory."""
    measured = result("attention")
    if measured is None:
        return ""
    lengths = list(measured["seconds"])
    head = ["", *(f"ms, n={length}" for length in lengths), *(f"MiB, n={length}" for length in lengths[1:])]
    rows = []
    for way, label in WAYS.items():
        times = [f"{1e3 * measured['seconds'][length][way]:.0f}" for length in lengths]
        sizes = [f"{measured['MiB'].get(way, {}).get(length, 0):.0f}" for length in lengths[1:]]
        rows.append([label, *times, *(size if size != "0" else "" for size in sizes)])
    decode, width = measured["decode ms"], measured["widths seconds"]
    note = (
        f"One query against 4,096 cached keys: {decode['ours']:.2f} ms, plain attention "
        f"{decode['plain attention']:.2f} ms. "
        f"Plain attention, 2,048 tokens, keys of 128: {1e3 * width['equal']:.0f} ms with values of 128, "
        f"{1e3 * width['value narrower']:.0f} ms with values of 64; torch alone "
        f"{1e3 * width['value narrower, torch alone']:.0f} ms. {_accuracy(measured['rms error'])} "
        f"torch {measured['torch']}, threads: {measured['threads']}, load of the machine before the run "
        f"{measured['load']:.1f}."
    )
    table = [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join([*table, "", note])


def _accuracy(errors: dict) -> str:
    """Returns how the error of half precision compares with SDPA's."""
    ratios = [row["ratio"] for row in errors.values()]
    return (
        f"Root mean square error of bfloat16 against float64, ours / SDPA: {min(ratios):.2f} to {max(ratios):.2f} "
        "(logits of standard deviation 1 to 16)."
    )


def _differences(measured: dict, digits: int = 3) -> list[str]:
    """Returns the rows of a study that compares forms after as many steps and after as much time."""
    steps = {
        "equal steps": dict.fromkeys(measured["equal steps"], measured["study"]["steps"]),
        "equal time": measured["steps in equal time"],
    }
    return [
        "| form | compared for | steps | held-out loss | difference to the first, 95 % |",
        "|---|---|---|---|---|",
        *(
            f"| {form} | {kind} | {steps[kind][form]} | {row['loss']:.{digits}f} "
            f"| {row['difference']:+.{digits}f} ± {row['half']:.{digits}f} |"
            for kind in steps
            for form, row in measured[kind].items()
        ),
        "",
    ]


def head_smollm2() -> str:
    """Returns the study of talking heads switched on in a real model."""
    measured = result("head_smollm2")
    if measured is None or "equal steps" not in measured:
        return ""
    study, loads = measured["study"], measured["load"]
    cost = " and ".join(f"{seconds:.2f} s" for seconds in measured["seconds per step"].values())
    return "\n".join(
        [
            *_differences(measured, 4),
            f"{study['seeds']} seeds, {study['batch_size']} pieces of {study['length']} tokens a step, {cost} of the "
            f"processor for a step; one thread, torch {measured['torch']}, load of the machine {min(loads)} to "
            f"{max(loads)}. Intervals as above.",
        ]
    )


def head_width() -> str:
    """Returns the study of wider keys and talking heads at equal parameters."""
    measured = result("head_width")
    if measured is None or "seeds" not in measured:
        return ""
    study, parameters = measured["study"], next(iter(measured["parameters"].values()))
    return "\n".join(
        [
            "![differences with their intervals](head_width.png)", "", *_differences(measured),
            f"{measured['seeds']} seeds; {parameters:,} parameters, hidden {study['hidden_size']}, "
            f"{study['num_heads']} heads, pieces of {study['length']} characters, {study['batch_size']} a step; one "
            f"thread, torch {measured['torch']}. Intervals by Student's t over the differences within a seed.",
        ]
    )  # fmt: skip


def growth() -> str:
    """Returns the tables of growth: exactness, speed, and memory and the peer if they were run."""
    measured = result("grow")
    if measured is None:
        return ""
    rows = [
        f"| {name} | {row['fp64']:.0e} | {row['fp32 over noise']:.1f} | {row['stored, in fp64']:.0e} |"
        for name, row in measured["exactness"].items()
    ]
    head = "| tiny random model | fp64 | fp32, times its own rounding | as stored, run in fp64 |"
    lines = [head, "|---|---|---|---|", *rows]
    ratio, size = measured["throughput"]["times cp"], measured["throughput"]["bytes"] / 1e9
    lines += [
        "",
        f"Writing {size:.1f} GB, times `cp` of them: "
        + ", ".join(f"{name} {value:.2f}" for name, value in ratio.items() if name != "cp")
        + f". Planning a model of {measured['plan']['bytes'] / 1e9:.0f} GB: {measured['plan']['seconds']:.1f} s.",
    ]
    return "\n".join([*lines, *_grown_memory(), *_grown_peer()])


def _grown_memory() -> list[str]:
    memory = result("grow_memory")
    if memory is None:
        return []
    runs = [run for run in (memory, memory.get("smaller")) if run]
    told = ", ".join(
        f"{run['peak MiB']} MiB at most for {run['written bytes'] / 1e9:.1f} GB written" for run in runs
    )
    return ["", f"Memory of the whole command, proof on a small copy included: {told}."]


def _grown_peer() -> list[str]:
    peer = result("grow_peer")
    if peer is None:
        return []
    head = (
        "| Llama, hidden and feed-forward 2x, fp32, made and written | max difference | seconds | peak MiB |"
    )
    rows = [
        f"| {name} | {row['max difference']:.1e} | {row['seconds']:.1f} | {row['peak MiB']} |"
        if "seconds" in row
        else f"| {name} | fails: {row['failed']} | | |"
        for name, row in peer.items()
        if name != "load"
    ]
    return ["", head, "|---|---|---|---|", *rows]


def growth_pays() -> str:
    """Returns the study of when growing pays."""
    measured = result("growth_pays")
    if measured is None:
        return ""
    lines = [
        "| small model trained for | then, at equal compute | held-out loss | more than the grown model, 95 % |",
        "|---|---|---|---|",
    ]
    for first, point in measured["points"].items():
        for way, row in point["ways"].items():
            more = f"{row['difference']:+.3f} ± {row['half']:.3f}" if row["half"] else ""
            start = f"{first} steps (loss {point['before']:.3f})"
            lines.append(f"| {start} | {way}, {row['steps']} steps | {row['loss']:.3f} | {more} |")
    return "\n".join([*lines, "", f"{measured['seeds']} seeds; `benchmarks/growth_pays.py` says how."])


def _mnist(measured: dict) -> list[tuple[str, str, str]]:
    """Rows about MNIST: what was reached in how many CPU minutes, and when the goal was passed."""
    rows = []
    titles = {"ours": "`mnist-cpu`", "official": "the official form", "plain": "a plain VAE"}
    for name, title in titles.items():
        if found := measured.get(name):
            minutes, goal = found["cpu_seconds"] / 60, "92 in 15" if name == "ours" else ""
            first = next((point for point in found["test_curve"] if point[2] <= 100), None)
            passed = f"; 100 passed by minute {first[1] / 60:.1f}, image {first[0]:,}" if first else ""
            rows.append(
                (
                    f"MNIST, {title}, {minutes:.0f} CPU minutes, test nats",
                    goal,
                    f"{found['negative_elbo']:.2f}{passed}",
                )
            )
    return rows


def images() -> str:
    """Returns what was aimed at in images, and what was reached."""
    measured = result("nvae")
    if measured is None:
        return ""
    step, weighting = measured["step"], measured["importance"]
    rows = [
        ("training step on one core, times the plain one", "", f"{step['times_faster']:.2f}"),
        ("kept for the backward pass, of the plain one", "", f"{step['memory_ratio']:.2f}"),
        (f"importance weighting, K = {weighting['samples']:,}, times faster", "3", f"{weighting['times_faster']:.1f}"),
        (
            "the same, where the encoder's passes are batched too", "",
            f"{weighting['times_faster_than_batched']:.1f}",
        ),
    ]  # fmt: skip
    if official := measured.get("official"):
        rows[:0] = [
            ("training step on one core, times the official code", "1.7", f"{official['times_faster']:.2f}"),
            ("memory of the training, of the official code's", "0.7", f"{official['memory_ratio']:.2f}"),
        ]
    if "recompute" in step:
        seconds = step["recompute"]["cpu_seconds"] / step["ours"]["cpu_seconds"]
        kept = step["kept_mb"]["recompute"] / step["kept_mb"]["naive"]
        rows.append(
            ("kept with `--recompute`, of the plain one", "", f"{kept:.2f}, in {seconds:.2f} times our time")
        )
    for row in measured["learning_rates"]:
        said = (
            f"{row['negative_elbo']:.0f} nats, finite; {row['skipped']} skipped, {row['rollbacks']} rollbacks"
        )
        rows.append((f"digits at {row['times']} times the learning rate", "no NaN", said))
    rows += _mnist(measured.get("mnist", {}))
    return "\n".join(
        ["| | goal | measured |", "|---|---|---|", *(f"| {a} | {b} | {c} |" for a, b, c in rows)]
    )
