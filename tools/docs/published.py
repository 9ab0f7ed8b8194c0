"""Where the papers are that docstrings name by their titles."""

import re

__all__ = ["PAPERS", "linked"]

_ARXIV = {
    "Adam: A Method for Stochastic Optimization": "1412.6980",
    "Decoupled Weight Decay Regularization": "1711.05101",
    "Generating Sequences With Recurrent Neural Networks": "1308.0850",
    "ADADELTA: An Adaptive Learning Rate Method": "1212.5701",
    "Towards Optimal One Pass Large Scale Learning with Averaged Stochastic Gradient Descent": "1107.2490",
    "The Road Less Scheduled": "2405.15682",
    "Quasi-hyperbolic momentum and Adam for deep learning": "1810.06801",
    "Adaptivity without Compromise: A Momentumized, Adaptive, Dual Averaged Gradient Method for Stochastic "
    "Optimization": "2101.11075",
    "signSGD: Compressed Optimisation for Non-Convex Problems": "1802.04434",
    "Symbolic Discovery of Optimization Algorithms": "2302.06675",
    "On the Variance of the Adaptive Learning Rate and Beyond": "1908.03265",
    "AdaBelief Optimizer: Adapting Stepsizes by the Belief in Observed Gradients": "2010.07468",
    "LaProp: Separating Momentum and Adaptivity in Adam": "2002.04839",
    "The AdEMAMix Optimizer: Better, Faster, Older": "2409.03137",
    "Adan: Adaptive Nesterov Momentum Algorithm for Faster Optimizing Deep Models": "2208.06677",
    "Connections between Schedule-Free Optimizers, AdEMAMix, and Accelerated SGD Variants": "2502.02431",
    "ADOPT: Modified Adam Can Converge with Any beta2 with the Optimal Rate": "2411.02853",
    "Large Batch Training of Convolutional Networks": "1708.03888",
    "Large Batch Optimization for Deep Learning: Training BERT in 76 minutes": "1904.00962",
    "Stochastic Gradient Methods with Layer-wise Adaptive Moments for Training of Deep Networks": "1905.11286",
    "Stable and low-precision training for large-scale vision-language models": "2304.13013",
    "MARS: Unleashing the Power of Variance Reduction for Training Large Models": "2411.10438",
    "Adafactor: Adaptive Learning Rates with Sublinear Memory Cost": "1804.04235",
    "Sophia: A Scalable Stochastic Second-order Optimizer for Language Model Pre-training": "2305.14342",
    "Memory-Efficient Adaptive Optimization": "1901.11150",
    "Stochastic Polyak Step-size for SGD: An Adaptive Learning Rate for Fast Convergence": "2002.10542",
    "MoMo: Momentum Models for Adaptive Learning Rates": "2305.07583",
    "DoG is SGD's Best Friend: A Parameter-Free Dynamic Step Size Schedule": "2302.12022",
    "DoWG Unleashed: An Efficient Universal Parameter-Free Gradient Descent Method": "2305.16284",
    "Learning-Rate-Free Learning by D-Adaptation": "2301.07733",
    "Prodigy: An Expeditiously Adaptive Parameter-Free Learner": "2306.06101",
    "Muon is Scalable for LLM Training": "2502.16982",
    "Shampoo: Preconditioned Stochastic Tensor Optimization": "1802.09568",
    "SOAP: Improving and Stabilizing Shampoo using Adam": "2409.11321",
}
PAPERS = {title: f"https://arxiv.org/abs/{number}" for title, number in _ARXIV.items()} | {
    "A Stochastic Approximation Method": "https://doi.org/10.1214/aoms/1177729586",
    "Some methods of speeding up the convergence of iteration methods": "https://doi.org/10.1016/0041-5553(64)90137-5",
    "On the importance of initialization and momentum in deep learning": (
        "https://proceedings.mlr.press/v28/sutskever13.html"
    ),
    "Acceleration of Stochastic Approximation by Averaging": "https://doi.org/10.1137/0330046",
    "Adaptive Subgradient Methods for Online Learning and Stochastic Optimization": (
        "https://jmlr.org/papers/v12/duchi11a.html"
    ),
    "Ad Click Prediction: a View from the Trenches": "https://doi.org/10.1145/2487575.2488200",
    "Lecture 6.5: rmsprop": "https://www.cs.toronto.edu/~tijmen/csc321/slides/lecture_slides_lec6.pdf",
    "A Direct Adaptive Method for Faster Backpropagation Learning: The RPROP Algorithm": (
        "https://doi.org/10.1109/ICNN.1993.298623"
    ),
    "On the Convergence of Adam and Beyond": "https://openreview.net/forum?id=ryQu7f-RZ",
    "Incorporating Nesterov Momentum into Adam": "https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ",
    "Adaptive Methods for Nonconvex Optimization": (
        "https://papers.nips.cc/paper/8186-adaptive-methods-for-nonconvex-optimization"
    ),
    "CAME: Confidence-guided Adaptive Memory Efficient Optimization": "https://aclanthology.org/2023.acl-long.243/",
    "Muon: An optimizer for hidden layers in neural networks": "https://kellerjordan.github.io/posts/muon/",
}
"""Every paper that can be read where it was published, by its title as docstrings have it."""


def linked(text: str) -> str:
    """The text, with each title of a paper a link to it."""
    for title, place in PAPERS.items():
        words = r"\s+".join(map(re.escape, title.split()))
        text = re.sub(rf"(?<!\[)\*({words})\*", rf"[*\1*]({place})", text)
    return text
