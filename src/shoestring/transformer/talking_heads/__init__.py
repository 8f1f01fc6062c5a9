"""Talking-heads attention (Shazeer et al. 2020): heads mix before and after the softmax, exactly, in linear memory.

`function` is the way in; `eager`, `chunked`, `kernels` and `fused` are its back ends, `call`, `mix`, `masks` and
`dropout` what they share; `module` is a layer, `written_out` and `interface` what models of transformers reach it by.
"""
