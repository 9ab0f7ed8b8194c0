"""With the adapters of Hugging Face peft, which leave most of a model frozen."""

import torch

from clients import ALGORITHMS, bits, client, each_algorithm, same_as_in_pytorch, weights

transformers = client("transformers")
peft = client("peft")
optimizers = client("peft.optimizers")

TEXTS = torch.arange(48).remainder(29).view(6, 1, 8)


def adapted():
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=32, **sizes))
    return peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], use_dora=True))


def curve(model, optimizer):
    found = []
    for text in TEXTS:
        optimizer.zero_grad()
        loss = model(input_ids=text, labels=text).loss
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


@each_algorithm
def test_adapters_train_as_with_pytorch_s_and_the_rest_stands_still(name):
    def run(optim):
        model = adapted()
        before = {key: value.clone() for key, value in model.named_parameters() if not value.requires_grad}
        optimizer = getattr(optim, name)(model.parameters(), **ALGORITHMS[name])
        found = curve(model, optimizer)
        assert before and bits(before) == bits({key: model.get_parameter(key).detach() for key in before})
        return found, weights(model)

    same_as_in_pytorch(run)


def test_lora_plus_is_as_with_pytorch_s():
    def run(optim):
        model = adapted()
        settings = {"lr": 0.01, "loraplus_lr_ratio": 16, "loraplus_weight_decay": 0.1, "betas": (0.8, 0.9), "eps": 1e-3}
        optimizer = optimizers.create_loraplus_optimizer(model, optim.AdamW, **settings)
        return curve(model, optimizer), weights(model)

    same_as_in_pytorch(run)
