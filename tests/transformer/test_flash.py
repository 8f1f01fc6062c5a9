"""Flash attention takes no mask but that of padding: what it sees is what every other kernel sees, or it is refused.

It is not there without a GPU; two functions that compute the same stand in for it, behind transformers' own code.
"""

import itertools

import pytest
import torch
from test_conventions import SIZES, ids, run, settings_of, stirred

from shoestring._errors import OptionError
from shoestring.transformer import ShoestringConfig, ShoestringModel


def flash(q, k, v, dropout_p=0.0, softmax_scale=None, causal=False):
    """What flash attention computes, (batch, length, heads, width), for machines without it."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    sdpa = torch.nn.functional.scaled_dot_product_attention
    return sdpa(q, k, v, is_causal=causal, scale=softmax_scale, enable_gqa=True).transpose(1, 2)


def flash_varlen(
    q,
    k,
    v,
    cu_seqlens_q,
    cu_seqlens_k,
    max_seqlen_q,
    max_seqlen_k,
    dropout_p=0.0,
    softmax_scale=None,
    causal=False,
):
    """The same for rows of which only the bounds are known, (tokens, heads, width)."""
    assert cu_seqlens_q.equal(cu_seqlens_k)
    parts = [slice(*bounds) for bounds in itertools.pairwise(cu_seqlens_q.tolist())]
    assert max(part.stop - part.start for part in parts) == max_seqlen_q == max_seqlen_k
    return torch.cat(
        [flash(*(x[None, part] for x in (q, k, v)), 0.0, softmax_scale, causal)[0] for part in parts]
    )


@pytest.mark.parametrize("position", ["rope", "learned", "sinusoidal"])
@pytest.mark.parametrize("is_decoder", [True, False])
def test_flash_attention_which_takes_no_mask_sees_the_same(position, is_decoder, monkeypatch):
    from transformers import modeling_flash_attention_utils as theirs

    functions = (flash, flash_varlen, None, theirs._pad_input, theirs._unpad_input)
    process = theirs._lazy_define_process_function(flash_varlen)
    monkeypatch.setattr(theirs, "lazy_import_flash_attention", lambda *_, **__: (functions, (process, dict)))
    torch.manual_seed(0)
    settings = {**settings_of(position, "plain"), "is_decoder": is_decoder, "num_key_value_heads": 2}
    model = stirred(ShoestringModel(ShoestringConfig(**settings)))
    x, left = ids(2, 11), torch.ones(2, 11, dtype=torch.long)
    left[0, :4] = 0
    documents = torch.tensor([[0] * 4 + [1] + [2] * 6, [0] * 5 + [1] * 6])
    starts = torch.tensor([[0, 1, 2, 3, 0, 0, 1, 2, 3, 4, 5]]).expand(2, -1)
    cases = [{"position_ids": starts}, {"document_ids": documents}, {"attention_mask": left},
             {"attention_mask": left.flip(1)}, {}]  # fmt: skip
    expected = [run(model, x, **case).last_hidden_state for case in cases]
    model.config._attn_implementation = "flash_attention_2"
    for case, right in zip(cases, expected, strict=True):
        real = case.get("attention_mask", torch.ones_like(x)).bool()
        found = run(model, x, **case).last_hidden_state
        torch.testing.assert_close(found[real], right[real], atol=1e-5, rtol=1e-5)
    with pytest.raises(OptionError, match="packed documents or padding, not both"):
        run(model, x, document_ids=documents, attention_mask=left)


@pytest.mark.parametrize("form", [{"position": "relative"}, {"is_decoder": True, "prefix_lm": True}])
def test_flash_attention_is_refused_where_it_would_see_something_else(form):
    model = ShoestringModel(ShoestringConfig(**{**SIZES, **form}))
    with pytest.raises(OptionError, match="choose sdpa"):
        model.get_correct_attn_implementation("flash_attention_2")
