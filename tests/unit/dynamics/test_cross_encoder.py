"""The recorder in a trainer of sentence-transformers."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast

from hf_noisy.dynamics.recorder import DynamicsRecorder
from hf_noisy.models.heads import find_heads
from tests.contract.runs import CLASSES, WORDS, bert

pytest.importorskip("sentence_transformers")


def test_pairs_of_texts_are_recorded(tmp_path):
    from sentence_transformers import CrossEncoder
    from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
    from sentence_transformers.cross_encoder.losses import CrossEntropyLoss

    words = {"[PAD]": 0, "[UNK]": 1, **{f"w{i}": i for i in range(2, WORDS)}}
    backend = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    backend.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", model_max_length=16
    )
    bert().save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    model = CrossEncoder(str(tmp_path / "model"), num_labels=CLASSES, device="cpu")
    rows = Dataset.from_dict(
        {
            "one": [f"w{2 + i % 9} w{3 + i % 5}" for i in range(12)],
            "two": [f"w{4 + i % 7}" for i in range(12)],
            "label": [i % CLASSES for i in range(12)],
        }
    )
    args = CrossEncoderTrainingArguments(
        str(tmp_path / "run"),
        num_train_epochs=2,
        per_device_train_batch_size=4,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    recorder = DynamicsRecorder({"train": rows}, dtype="float32")
    trainer = CrossEncoderTrainer(
        model=model, args=args, train_dataset=rows, loss=CrossEntropyLoss(model), callbacks=[recorder]
    )
    trainer.train()
    found = recorder.trajectories
    assert found.epochs == [1, 2]
    logits = found.logits("train")
    assert logits.shape == (2, 1, 12, CLASSES)
    pairs = list(zip(rows["one"][:], rows["two"][:], strict=True))
    expected = model.predict(pairs, activation_fn=torch.nn.Identity(), show_progress_bar=False)
    np.testing.assert_allclose(logits[-1, 0], expected, atol=1e-5)
    inner = next(model.children()).auto_model
    embeddings = torch.from_numpy(found.embeddings("train", 2, 0))
    np.testing.assert_allclose(find_heads(inner)[0](embeddings).detach(), expected, atol=1e-5)
    assert found.features("train").shape == (12, 8)
