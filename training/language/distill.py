# SPDX-License-Identifier: Apache-2.0
# Trains the draft on the target's distributions: at every place of the training text the divergence from what the target
# says comes next, most of it inside the assistant's answers.
import torch

from model import Llama, packed_visible
from train import held_out_loss, loop


def divergence(draft_logits, target_logits, weight):
    """KL(target || draft) of the token after each place, averaged by the weight of that token."""
    target = target_logits[:, :-1].float().log_softmax(-1)
    draft = draft_logits[:, :-1].float().log_softmax(-1)
    each = (target.exp() * (target - draft)).sum(-1)
    weight = weight[:, 1:]
    return (each * weight).sum() / weight.sum()


def distill_draft(setup, shape, target, rows, held_out, seconds):
    draft = Llama(shape).to(setup.device)
    setup.log(f"draft: {sum(p.numel() for p in draft.parameters())} parameters")

    def forward(tokens, weight, owner):
        visible = packed_visible(owner)
        with torch.no_grad():
            taught = target(tokens, visible)
        return divergence(draft(tokens, visible), taught, weight)

    step = setup.ready(forward)

    def loss_of(*batch):
        with setup.autocast():
            return step(*batch)

    steps = loop(setup, draft, rows, loss_of, seconds, "draft", (0.01, 0.006), lambda: held_out_loss(draft, held_out, setup))
    return draft.eval(), steps
