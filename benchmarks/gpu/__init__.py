"""Everything that needs a GPU, checked and timed by one command.

    python -m benchmarks.gpu OUT [--minutes 8] [--rehearse]

| part | what it checks | what it times |
|---|---|---|
| heads | Triton against fp64, forward and backward | ms, TFLOP/s, GiB beside eager, compiled, x-transformers, SDPA |
| lm | tokens are those of transformers | tokens/s of 2.6 billion weights in bf16, share of the bandwidth |
| nvae | losses in bf16 beside fp32, nothing skipped | seconds a step, the profiler's top ten, nats |
| match | - | bi- and cross-encoder on PAWSX and LCQMC, three seeds |
| grow | the grown model says the same | a checkpoint of 7B's width beside `cp`; pre-training in tokens/s |

Each part is a process with a time limit of its own and writes its JSON after every figure: a run that is cut loses
nothing. `--rehearse` runs every part small on a CPU, Triton interpreted.
"""
