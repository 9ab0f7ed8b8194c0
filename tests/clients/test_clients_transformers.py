"""Inside the Trainer of Hugging Face transformers."""

import pytest
import torch

from clients import ALGORITHMS, bits, client, each_algorithm, each_of_ours, same_as_in_pytorch, weights
from minima import torch as mt

transformers = client("transformers")

TEXTS = [{"input_ids": ids, "labels": ids} for ids in torch.arange(32 * 8).remainder(29).view(32, 8)]


def model():
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=32, **sizes))


def trainer(folder, *, optimizer=None, optimizers=None, **settings):
    """A Trainer whose optimizer is made by it (a class with its arguments), or given (a function of the model)."""
    options = {"max_steps": 8, "save_strategy": "no", **settings}
    arguments = transformers.TrainingArguments(
        str(folder), per_device_train_batch_size=4, logging_steps=1, report_to=[], use_cpu=True, disable_tqdm=True,
        **options,
    )  # fmt: skip
    net = model()
    how = {"optimizers": (optimizers(net), None)} if optimizers else {"optimizer_cls_and_kwargs": optimizer}
    return transformers.Trainer(net, arguments, train_dataset=TEXTS, eval_dataset=TEXTS[:4], **how)


def trained(it, **options):
    it.train(**options)
    logged = {key: [row[key] for row in it.state.log_history if key in row] for key in ("loss", "learning_rate")}
    return logged["loss"], logged["learning_rate"], weights(it.model)


@each_algorithm
def test_an_optimizer_that_is_handed_in_trains_as_pytorch_s(name, tmp_path):
    def run(optim):
        return trained(
            trainer(tmp_path, optimizers=lambda net: getattr(optim, name)(net.parameters(), **ALGORITHMS[name]))
        )

    same_as_in_pytorch(run)


@each_algorithm
def test_a_class_with_its_arguments_trains_as_pytorch_s(name, tmp_path):
    def run(optim):
        it = trainer(tmp_path, optimizer=(getattr(optim, name), ALGORITHMS[name]), weight_decay=0.1)
        result = trained(it)
        assert [group["weight_decay"] for group in it.optimizer.optimizer.param_groups] == [0.1, 0.0]
        return result

    same_as_in_pytorch(run)


@pytest.mark.parametrize(
    "schedule",
    ["linear", "cosine", "cosine_with_restarts", "polynomial", "inverse_sqrt", "constant_with_warmup"],
)
def test_accumulation_clipping_and_a_schedule_work_as_with_pytorch_s(schedule, tmp_path):
    def run(optim):
        settings = {"lr_scheduler_type": schedule, "warmup_steps": 2, "gradient_accumulation_steps": 2}
        it = trainer(tmp_path, optimizer=(optim.AdamW, {"lr": 0.01}), max_grad_norm=0.1, **settings)
        return trained(it)

    same_as_in_pytorch(run)


def test_a_plateau_lowers_the_rate_as_with_pytorch_s(tmp_path):
    def run(optim):
        settings = {"lr_scheduler_type": "reduce_lr_on_plateau", "lr_scheduler_kwargs": {"mode": "max", "patience": 0}}
        it = trainer(tmp_path, optimizer=(optim.SGD, {"lr": 0.1}), eval_strategy="steps", eval_steps=1, **settings)
        result = trained(it)
        assert it.optimizer.param_groups[0]["lr"] < 0.01
        return result

    same_as_in_pytorch(run)


@each_of_ours
def test_a_run_that_was_saved_goes_on_to_the_bit(cls, options, tmp_path):
    saving = {"save_strategy": "steps", "save_steps": 4, "optimizer": (cls, options)}
    whole, resumed = trainer(tmp_path / "a", **saving), trainer(tmp_path / "b", **saving)
    whole.train()
    resumed.train(resume_from_checkpoint=str(tmp_path / "a" / "checkpoint-4"))
    assert bits(weights(resumed.model)) == bits(weights(whole.model))
    assert bits(resumed.optimizer.state_dict()) == bits(whole.optimizer.state_dict())


@pytest.mark.parametrize("first", [torch.optim, mt], ids=["from PyTorch", "to PyTorch"])
@each_algorithm
def test_a_run_goes_on_with_the_other_library_s_optimizer(name, first, tmp_path):
    def run(optim):
        it = trainer(tmp_path / "b", optimizer=(getattr(optim, name), ALGORITHMS[name]))
        return trained(it, resume_from_checkpoint=str(tmp_path / "a" / "checkpoint-4"))

    made = (getattr(first, name), ALGORITHMS[name])
    trainer(tmp_path / "a", optimizer=made, save_strategy="steps", save_steps=4).train()
    same_as_in_pytorch(run)
