"""What scorers are asked: each collection as its files have it."""

import gzip
import zipfile

from benchmarks.tune import judged


def test_a_small_collection_has_its_judged_queries(monkeypatch, tmp_path):
    records = ".I 1\n.T\nOne\n.W\nfirst\ntext\n.I 2\n.T\nTwo\n.A\nSomebody\n"
    with gzip.open(tmp_path / "all.gz", "wt") as file:
        file.write(records)
    (tmp_path / "qry").write_text(".I 1\n.W\nwhat\n.I 2\n.W\nwho\n", "utf-8")
    (tmp_path / "rel").write_text("02 2 0 0\n", "utf-8")
    monkeypatch.setattr(judged, "require", lambda name: tmp_path / name)
    assert judged.smart("all.gz", "qry", "rel") == (["who"], ["One. first text", "Two."], {0: {1}})


def test_npl_is_read_by_the_names_of_its_texts(monkeypatch, tmp_path):
    folder = tmp_path / "retrieval" / "npl-vaswani"
    folder.mkdir(parents=True)
    text = "<DOC>\n<DOCNO>7</DOCNO>\nwaves\n</DOC>\n<DOC>\n<DOCNO>9</DOCNO>\nnoise\n</DOC>\n"
    with gzip.open(folder / "doc-text.trec.gz", "wt") as file:
        file.write(text)
    topics = "<top>\n<num>1</num><title>\nWAVES\n</title>\n</top>\n"
    (folder / "query-text.trec").write_text(topics, "utf-8")
    (folder / "qrels").write_text("1 0 9 1\n1 0 7 0\n", "utf-8")
    monkeypatch.setattr(judged, "require", lambda name: tmp_path / name)
    assert judged.npl() == (["WAVES"], ["waves", "noise"], {0: {1}})


def test_nfcorpus_takes_every_grade_above_zero(monkeypatch, tmp_path):
    with gzip.open(tmp_path / "test.docs.gz", "wt") as file:
        file.write("MED-1\tfish oil\nMED-2\tsalt\n")
    (tmp_path / "test.titles.queries").write_text("PLAIN-1\tfish\nPLAIN-2\tsugar\n", "utf-8")
    lines = "PLAIN-1\t0\tMED-2\t1\nPLAIN-1\t0\tMED-9\t2\nPLAIN-2\t0\tMED-1\t0\n"
    (tmp_path / "test.2-1-0.qrel").write_text(lines, "utf-8")
    monkeypatch.setattr(judged, "require", lambda name: tmp_path / name.rpartition("/")[2])
    assert judged.nfcorpus() == (["fish"], ["fish oil", "salt"], {0: {1}})


def test_sentences_of_questions_are_one_collection(monkeypatch, tmp_path):
    columns = {"a.toks": ["who", "who", "what", "why"], "b.toks": ["he", "it", "it", "no"]}
    for name, lines in {**columns, "sim.txt": ["1", "0", "1", "0"]}.items():
        (tmp_path / name).write_text("".join(f"{line} \n" for line in lines), "utf-8")
    rows = zip(*columns.values(), ("1", "0", "1", "0"), strict=True)
    table = "".join(f"{a},{label},{b}\n" for a, b, label in rows)
    (tmp_path / "test.csv").write_text("qtext,label,atext\n" + table, "utf-8")
    monkeypatch.setattr(judged, "require", lambda name: tmp_path / name.rpartition("/")[2])
    want = (["who", "what"], ["he", "it", "no"], {0: {0}, 1: {1}})
    assert judged.wikiqa() == judged.trecqa() == want


def test_answers_of_liveqa_are_right_from_grade_three_on(monkeypatch, tmp_path):
    xml = "".join(
        f"<NLM-QUESTION qid='TQ{n}'><NLM-Summary>\n{text}</NLM-Summary></NLM-QUESTION>"
        for n, text in ((1, "why?"), (2, "how?"))
    )
    (tmp_path / "TREC-2017-LiveQA-Medical-Test-Questions-w-summaries.xml").write_text(
        f"<Set>{xml}</Set>", "utf-8"
    )
    archive = tmp_path / "QA-TestSet-LiveQA-Med-Qrels-2479-Answers.zip"
    with zipfile.ZipFile(archive, "w") as files:
        files.writestr("x/a.csv", 'AnswerID,Answer\nA1,"one\nline"\nA2,two\n')
        files.writestr("x/q.txt", "1 3-Incomplete A1\n1 2-Related A2\n2 1-Incorrect A2\n")
        files.writestr("__MACOSX/x/._q.txt", "not text")
    monkeypatch.setattr(judged, "require", lambda name: tmp_path / name.rpartition("/")[2])
    assert judged.liveqa() == (["why?"], ["one\nline", "two"], {0: {0}})
