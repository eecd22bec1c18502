"""The sample `text_topics`: which part of programming a sentence is about, as a string.

The data are the paragraphs of the Python standard library's own docstrings, a text source that every Python
brings along, under seven topics: the topic of a paragraph is that of the module it stands in. Every fifth
docstring is held out as a whole.

What the held-out accuracy says, and does not: it is that of unseen docstrings of modules that the model has
seen others of, so it also profits from the words of those modules ("decimal", "mailbox"). How well it does on
a module it has never seen is measured by leaving modules out, and is kept in the graph's metadata as
`unseen_module_accuracy`. It is about half as high: modules are few, and each has a language of its own.

The graph takes strings and needs onnxruntime's `Tokenizer` (domain com.microsoft), which is in every build.
Letters are lowered with the locale "C", because the operator's default, en_US, is missing in most containers
and would fail the load.
"""

import platform
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto
from skl2onnx import to_onnx
from skl2onnx.common.data_types import StringTensorType
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline

from samples import graph
from samples.docstrings import MODULES, Paragraph, paragraphs
from samples.sample import Rows, Sample, Split, TrainedVersion, as_column, progress

CLASSES = tuple(sorted(MODULES))
WORD = "[a-zA-Z]{2,}"
VOCABULARY_SIZE = 4000
FOLDS = 5


def split() -> Split:
    """Texts [rows, 1] as fixed-width unicode, and their topics."""
    texts = paragraphs()
    learned = [text for text in texts if not text.is_heldout]
    heldout = [text for text in texts if text.is_heldout]
    return Split(_texts(learned), _topics(learned), _texts(heldout), _topics(heldout))


def train() -> Sample:
    """The one version of `text_topics`."""
    rows = split()
    progress(f"version 1: tf-idf of {VOCABULARY_SIZE} words, then multinomial logistic regression")
    model = _pipeline().fit(rows.train_inputs.ravel(), rows.train_labels)
    heldout = rows.heldout_inputs.ravel()
    expected = {
        "label": as_column(model.predict(heldout)),
        "probabilities": model.predict_proba(heldout),
    }
    progress(f"version 1: accuracy on modules never seen, {FOLDS} folds")
    metadata = {
        "description": "tf-idf of single words, then multinomial logistic regression",
        "unseen_module_accuracy": f"{_unseen_module_accuracy():.6f}",
        "python_version": platform.python_version(),
    }
    return Sample(
        name="text_topics",
        input_name="text",
        class_names=CLASSES,
        split=rows,
        versions=(TrainedVersion(1, _export(model), expected, metadata),),
        training_data=f"docstrings of Python {platform.python_version()}'s standard library, four fifths",
        write_rows=_write_rows,
    )


def _pipeline() -> Pipeline:
    return make_pipeline(
        TfidfVectorizer(token_pattern=WORD, max_features=VOCABULARY_SIZE, dtype=np.float32),
        LogisticRegression(C=8.0, max_iter=500, class_weight="balanced"),
    )


def _unseen_module_accuracy() -> float:
    texts = paragraphs()
    topics = _topics(texts)
    modules = [text.module for text in texts]
    inputs = _texts(texts).ravel()
    predicted = cross_val_predict(_pipeline(), inputs, topics, groups=modules, cv=GroupKFold(FOLDS))
    return float(np.mean(predicted == topics))


def _texts(texts: list[Paragraph]) -> Rows:
    return as_column(np.array([text.text for text in texts]))


def _topics(texts: list[Paragraph]) -> Rows:
    return np.array([text.topic for text in texts])


def _export(model: Pipeline) -> onnx.ModelProto:
    converted = to_onnx(
        model,
        initial_types=[("text", StringTensorType([None, 1]))],
        target_opset={"": graph.OPSET, "ai.onnx.ml": graph.ML_OPSET},
        options={
            TfidfVectorizer: {"tokenexp": WORD, "locale": "C"},
            LogisticRegression: {"zipmap": False},
        },
        name="text_topics",
    )
    label, label_output, label_axis = graph.label_column("topic", TensorProto.STRING)
    outputs = [label_output, graph.tensor("probabilities", TensorProto.FLOAT, len(CLASSES))]
    return graph.extend(converted, {"label": "topic"}, [label], outputs, [label_axis])


def _write_rows(folder: Path, texts: Rows) -> None:
    """One text a line."""
    (folder / "texts.txt").write_text("\n".join(texts.ravel()) + "\n", encoding="utf-8")
