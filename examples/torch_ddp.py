"""Several processes train one model, each on its share of every batch: DDP, with minima's optimizer in each.

    torchrun --nproc_per_node=2 examples/torch_ddp.py
    torchrun --nproc_per_node=2 examples/torch_ddp.py --shard    # FSDP2: each process keeps a part of model and state
    python examples/torch_ddp.py                                 # one process, the whole batch: the same result

DDP adds up gradients while they are computed, and every process takes the same step. With `fully_shard` a parameter
lies in several processes, and each steps its own part.
"""

import argparse
import os

import torch
import torch.distributed as dist
from torch import nn

from minima.torch import RMSprop


def make_data(rank, world):
    """Points in a square, and on which side of a circle they are: the share of one process, every ``world``-th."""
    random = torch.Generator().manual_seed(0)
    x = 2 * torch.rand(1024, 2, generator=random) - 1
    y = (x.square().sum(1) < 0.6).long()
    return x[rank::world], y[rank::world]


def main(shard):
    if "RANK" not in os.environ:  # not started by torchrun: one process on its own
        os.environ |= {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "0"}
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(0)  # of the weights, which are the same everywhere
    model = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
    if shard:
        from torch.distributed.fsdp import fully_shard

        model = fully_shard(model)
    else:
        model = nn.parallel.DistributedDataParallel(model)
    optimizer = RMSprop(model.parameters(), lr=2e-3, alpha=0.9, weight_decay=1e-4)  # after the model was distributed

    x, y = make_data(rank, world)
    cross_entropy = nn.CrossEntropyLoss()
    for _ in range(10):
        for step in range(8):
            share = slice(step * len(x) // 8, (step + 1) * len(x) // 8)
            loss = cross_entropy(model(x[share]), y[share])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    right = (model(x).argmax(1) == y).sum()
    dist.all_reduce(right)
    accuracy = right.item() / 1024
    if rank == 0:
        print(f"{world} process{'es' if world > 1 else ''}, loss {loss.item():.4f}, accuracy {accuracy:.1%}")
    assert accuracy > 0.95
    dist.destroy_process_group()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shard", action="store_true", help="spread parameters and state over the processes")
    main(parser.parse_args().shard)
