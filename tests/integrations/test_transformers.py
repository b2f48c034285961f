"""Hugging Face's `Trainer`, which reports to MLflow, and the pipeline that it trained, on a BERT of a few numbers."""

from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
from mlflow import MlflowClient
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DataCollatorWithPadding,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
    pipeline,
    set_seed,
)

WORDS = ["[PAD]", "[UNK]", "bad", "good", "a", "film"]
FILMS = [("a good film", 1), ("a bad film", 0), ("good film", 1), ("bad film", 0)] * 2
EPOCHS, STEPS = 3, 6  # two batches of four in an epoch


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    words = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]")


@pytest.fixture
def model() -> BertForSequenceClassification:
    set_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    return BertForSequenceClassification(BertConfig(vocab_size=len(WORDS), max_position_embeddings=8, **sizes))


def make_trainer(model: Any, tokenizer: Any, folder: Path) -> Trainer:
    films = [{**tokenizer(text), "label": label} for text, label in FILMS]
    arguments = TrainingArguments(
        str(folder),
        disable_tqdm=True,
        eval_strategy="epoch",
        learning_rate=0.01,
        logging_steps=1,
        num_train_epochs=EPOCHS,
        per_device_train_batch_size=4,
        report_to="mlflow",
        run_name="films",
        save_steps=STEPS,
        use_cpu=True,
    )
    collator = DataCollatorWithPadding(tokenizer)
    return Trainer(model, arguments, collator, train_dataset=films, eval_dataset=films, processing_class=tokenizer)


def test_training_leaves_arguments_configuration_histories_and_checkpoints(
    client: MlflowClient, model: Any, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "sentiment")
    monkeypatch.setenv("MLFLOW_TAGS", '{"team": "a"}')
    monkeypatch.setenv("HF_MLFLOW_LOG_ARTIFACTS", "1")
    trainer = make_trainer(model, tokenizer, tmp_path / "local")
    trainer.train()

    experiment = client.get_experiment_by_name("sentiment")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status, run.data.tags["team"]) == ("films", "FINISHED", "a")
    expected = {"hidden_size": "8", "model_type": "bert", "learning_rate": "0.01", "num_train_epochs": str(EPOCHS)}
    assert expected.items() <= run.data.params.items()
    for metric in ("loss", "grad_norm", "eval_loss"):
        points = client.get_metric_history(run.info.run_id, metric)
        reported = [(entry["step"], entry[metric]) for entry in trainer.state.log_history if metric in entry]
        assert [(point.step, point.value) for point in points] == reported
        assert len(points) == (EPOCHS if metric == "eval_loss" else STEPS)

    (logged,) = mlflow.search_logged_models([experiment.experiment_id], output_format="list")
    assert (logged.name, logged.source_run_id) == (f"checkpoint-{STEPS}", run.info.run_id)
    kept = Path(mlflow.artifacts.download_artifacts(logged.model_uri)) / "artifacts" / logged.name
    loaded = BertForSequenceClassification.from_pretrained(kept)
    words = tokenizer(["a bad film", "a good film"], return_tensors="pt")
    with torch.no_grad():
        torch.testing.assert_close(loaded(**words).logits, model.eval()(**words).logits)
    assert (kept / "trainer_state.json").exists()


def test_a_pipeline_is_logged_registered_and_answers_the_same(client: MlflowClient, model: Any, tokenizer: Any) -> None:
    judging = pipeline("text-classification", model=model.eval(), tokenizer=tokenizer, device="cpu")
    with mlflow.start_run():
        mlflow.transformers.log_model(
            judging, name="judge", registered_model_name="judge", pip_requirements=["transformers", "torch"]
        )

    loaded = mlflow.transformers.load_model("models:/judge/1")
    texts = [text for text, _ in FILMS[:4]]
    assert loaded(texts) == judging(texts)
    answered = mlflow.pyfunc.load_model("models:/judge/1").predict(texts)
    assert answered["label"].tolist() == [answer["label"] for answer in judging(texts)]
