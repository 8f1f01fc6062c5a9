"""What `benchmarks/count.py` runs beside ours: lines that read CORPUS and leave a dict `d`; WRITE writes it to OUT."""

from __future__ import annotations

READ = "open(CORPUS, encoding='utf-8', newline='\\n')"
COLUMNS = (
    "read_csv(CORPUS_, header=false, columns={'t': 'VARCHAR'}, delim='\\x01', quote='', escape='', "
    "max_line_size=9999999)"
)

LOOPS = {
    "naive jieba loop": f"""
import jieba; jieba.setLogLevel(60); d = {{}}
for text in {READ}:
    for token in jieba.cut(text.rstrip('\\n')): d[token] = d.get(token, 0) + 1
""",
    "rjieba loop (not exact)": f"""
import rjieba; d = {{}}
for text in {READ}:
    for token in rjieba.cut(text.rstrip('\\n')): d[token] = d.get(token, 0) + 1
""",
}
SPLIT = {
    "Counter": f"""
from collections import Counter; d = Counter()
for text in {READ}: d.update(text.split())
""",
    "nltk FreqDist": f"""
from nltk import FreqDist; d = FreqDist()
for text in {READ}: d.update(text.split())
""",
    "gensim Dictionary": f"""
from gensim.corpora import Dictionary
g = Dictionary((text.split() for text in {READ}), prune_at=None)
d = {{g[i]: n for i, n in g.cfs.items()}}
""",
    "sklearn CountVectorizer": f"""
from sklearn.feature_extraction.text import CountVectorizer
v = CountVectorizer(tokenizer=str.split, token_pattern=None, lowercase=False)
m = v.fit_transform({READ}).sum(0).A1
d = {{w: int(m[i]) for w, i in v.vocabulary_.items()}}
""",
    "polars": """
import polars as pl
q = pl.scan_csv(CORPUS, has_header=False, separator='\\x01', quote_char=None, new_columns=['t'])
q = q.select(pl.col('t').str.split(' ').alias('w')).explode('w').filter(pl.col('w') != '')
d = dict(q.group_by('w').len().collect(engine='streaming').iter_rows())
""",
    "DuckDB": f"""
import duckdb; duckdb.sql('set threads=2')
q = "select w, count(*) from (select unnest(string_split(t, ' ')) w from {COLUMNS}) where w <> '' group by w"
d = dict(duckdb.sql(q.replace('CORPUS_', repr(CORPUS))).fetchall())
""",
    "Dask bag, 2 processes": """
import dask.bag as db, dask
if __name__ == '__main__':
    dask.config.set(scheduler='processes', num_workers=2)
    bag = db.read_text(CORPUS, blocksize='4MB', linedelimiter='\\n')
    d = dict(bag.str.split().flatten().frequencies().compute())
""",
    "Spark SQL, local[2]": """
from pyspark.sql import SparkSession, functions as F
spark = SparkSession.builder.master('local[2]').config('spark.ui.enabled', 'false').getOrCreate()
words = spark.read.text(CORPUS).select(F.explode(F.split('value', ' ')).alias('w')).where("w <> ''")
d = {row[0]: row[1] for row in words.groupBy('w').count().collect()}
""",
}
GRAMS = {
    "dict": f"""
d = {{}}
for text in {READ}:
    text = text.rstrip('\\n')
    for i in range(len(text) - 3): w = text[i:i + 4]; d[w] = d.get(w, 0) + 1
""",
    "DuckDB, memory_limit 1GB": f"""
import duckdb; duckdb.sql("set threads=2; set memory_limit='1GB'")
q = "select w, count(*) from (select substring(t, unnest(range(1, length(t) - 2)), 4) w from {COLUMNS}) group by w"
d = dict(duckdb.sql(q.replace('CORPUS_', repr(CORPUS))).fetchall())
""",
}
KENLM = f"""
import subprocess
command = ['count_ngrams', '-o', '4', '-S', '400M', '--write_vocab_list', OUT + '.vocabulary']
with open(OUT + '.counts', 'wb') as out:
    counting = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out)
    for text in {READ}: counting.stdin.write(' '.join(text.replace(' ', '\u2420')).encode())
    counting.stdin.close()
    counting.wait()
d = {{}}
"""
COUNTS = """
from shoestring.count.counting import packed
from shoestring.count.job import Job
from shoestring.count.counting.pipeline import Count
counting = Count(Job('ngram', ngrams=(4, 4), workers=2, memory=1 << 28), [CORPUS])
counting.run()
with open(OUT + '.counts', 'wb') as out:
    for keys, counts, _ in packed.merged(counting._paths(), (4, 4), 1 << 29): out.write(keys); out.write(counts)
counting.close()
d = {}
"""
WRITE = """
if __name__ == '__main__':
    with open(OUT, 'w', encoding='utf-8', newline='\\n') as f:
        for w, c in sorted(d.items(), key=lambda r: (-r[1], r[0])): f.write(f'{w}\\t{c}\\n')
"""
