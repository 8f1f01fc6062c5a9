"""What changes an embedding changes the fingerprint, and another model is refused."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from shoestring._errors import InputError, OptionError
from shoestring.match.matcher import Matcher
from shoestring.match.search.index import Index


def test_the_wrong_model_is_refused(matcher, cross, trained, base, tmp_path):
    Index(tmp_path / "index", matcher).add([("我喜欢猫", {})])
    with pytest.raises(InputError, match="another model"):
        Index(tmp_path / "index", Matcher(base, "cpu"))
    with pytest.raises(OptionError, match="cross-encoder"):
        Index(tmp_path / "index", cross)
    shutil.copytree(trained["bi"], tmp_path / "copy")
    copy = Matcher(tmp_path / "copy", "cpu")
    copy.embed(["猫", "鱼" * 50])  # leaves its traces in the tokenizer
    assert len(Index(tmp_path / "index", copy)) == 1


def changed_pooling(model):
    model[1].pooling_mode = "cls"


def changed_weights(model):
    next(model.parameters()).data.view(-1)[0] += 1e-6


def changed_tokenizer(model):
    from tokenizers.normalizers import Lowercase

    model.tokenizer.backend_tokenizer.normalizer = Lowercase()


CHANGES = {
    "pooling": changed_pooling, "weights": changed_weights, "tokenizer": changed_tokenizer,
    "length": lambda model: setattr(model, "max_seq_length", 7),
    "prompt": lambda model: model.prompts.update(query="query: "),
    "default": lambda model: setattr(model, "default_prompt_name", "query"),
    "dimensions": lambda model: setattr(model, "truncate_dim", 16),
    "config": lambda model: setattr(model[0].model.config, "layer_norm_eps", 0.1),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_an_embedding_changes_the_fingerprint(trained, change):
    one, two = Matcher(trained["bi"], "cpu"), Matcher(trained["bi"], "cpu")
    assert one.fingerprint() == two.fingerprint()
    CHANGES[change](two.model)
    assert one.fingerprint() != two.fingerprint()


def test_an_index_of_one_precision_is_searched_in_the_other(trained, tmp_path, monkeypatch):
    exact, fast = Matcher(trained["bi"], "cpu"), Matcher(trained["bi"], "cpu", precision="bf16")
    texts = [
        f"{frame}{thing}" for frame in ("请看", "没有", "这里有") for thing in "猫狗鱼鸟马牛羊鸡花树山水"
    ]
    one, two = exact.embed(texts), fast.embed(texts)
    assert exact.fingerprint() == fast.fingerprint()
    assert np.allclose(np.linalg.norm(two, axis=1), 1, atol=1e-6)
    assert 1e-5 < np.abs(one - two).max() < 0.05
    Index(tmp_path, fast).add((text, {}) for text in texts)
    assert [hits[0].text for hits in Index(tmp_path, exact).search(texts, 1)] == texts
    for able, chosen in ((False, "fp32"), (True, "bf16")):
        monkeypatch.setattr("torch.cpu.get_capabilities", lambda able=able: {"avx512_bf16": able})
        assert Matcher(trained["bi"], "cpu", precision="auto").precision == chosen
        assert Matcher(trained["cross"], "cpu", precision="auto").precision == "fp32"
    with pytest.raises(OptionError, match="cross-encoder computes in fp32 only"):
        Matcher(trained["cross"], "cpu", precision="bf16")
    with pytest.raises(OptionError, match="precision 'int8': choose one of fp32, bf16, auto"):
        Matcher(trained["bi"], "cpu", precision="int8")


@pytest.mark.parametrize("read", [False, True])
def test_a_pooler_counts_where_it_is_read_and_only_there(base, read):
    """BERT without a pooler gets a random one at each loading; some models' embedding is what theirs says."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    output = {"text": {"method": "forward", "method_output_name": "pooler_output"}}
    own = {"modality_config": output, "module_output_name": "sentence_embedding"} if read else {}
    transformer = Transformer(str(base), **own)
    modules = [transformer] if read else [transformer, Pooling(32)]
    matcher = Matcher(base, model=SentenceTransformer(modules=modules, device="cpu"))
    mark, vectors = matcher.fingerprint(), matcher.embed(["请看猫"])
    torch.nn.init.normal_(transformer.model.pooler.dense.weight)
    assert np.array_equal(vectors, matcher.embed(["请看猫"])) == (not read)
    assert (mark == matcher.fingerprint()) == (not read)


def test_a_search_embeds_as_the_model_wants_queries_and_documents(trained, tmp_path):
    matcher = Matcher(trained["bi"], "cpu")
    matcher.model.prompts.update(query="请看", passage="没有")
    index = Index(tmp_path / "index", matcher)
    index.add([("猫", {}), ("鱼", {})])
    plain = Matcher(trained["bi"], "cpu")
    wanted = plain.embed(["请看鱼"]) @ plain.embed(["没有猫", "没有鱼"]).T
    (hits,) = index.search(["鱼"])
    assert {hit.id: hit.score for hit in hits} == pytest.approx(dict(enumerate(wanted[0].tolist())), abs=1e-5)
    assert [hit.match for hit in hits] == [None, None]  # the threshold was chosen on texts without
    assert plain.scores([("鱼", "猫")]) == pytest.approx(matcher.scores([("鱼", "猫")]))


@pytest.mark.parametrize("role", [None, "query", "document"])
def test_a_role_without_a_prompt_has_the_default_one(trained, role):
    matcher = Matcher(trained["bi"], "cpu")
    matcher.model.prompts["match"], matcher.model.default_prompt_name = "请看", "match"
    assert matcher.embed(["猫"], role=role) == pytest.approx(
        Matcher(trained["bi"], "cpu").embed(["请看猫"]), abs=1e-6
    )
