"""Image-to-image translation: pix2pix and CycleGAN."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmgen.models.translation_models import CycleGAN, Pix2Pix
from torch import Tensor, nn

from minmax_plugin.mmgen.adapters.base import GameAdapter, Predictions


class TranslationAdapter(GameAdapter):
    """A model that makes its fakes first, and uses them for both players' losses.

    So the generators' graph exists before the discriminators step, and a rejection would change weights under it. On
    a rejection, and only then, the fakes are made again at the incumbent. Fakes of a rejected proposal stay in
    CycleGAN's buffer of past images.

    f includes all the generators' other losses (pixel, cycle, identity).
    """

    names = ("generators", "discriminators")
    has_auxiliary_losses = True

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self._stale = False
        loss_of = self.model._get_gen_loss

        def generator_loss(outputs: dict[str, Any]) -> Any:
            if self._stale:
                self._stale = False
                outputs.update(self.translate(outputs))
            return loss_of(outputs)

        self.model._get_gen_loss = generator_loss

    def after_rejection(self) -> None:
        self._stale = True

    def translate(self, reals: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Translate real images as the model's ``train_step`` does, from ``{"real_a": ...}`` to fakes."""
        raise NotImplementedError

    def _own(self, outputs: dict[str, Tensor]) -> Tensor:
        losses = [loss(outputs) for loss in self.model.gen_auxiliary_losses or []]
        return sum((loss for loss in losses if loss is not None), torch.zeros(()))


class PairedTranslationAdapter(TranslationAdapter):
    """pix2pix: one generator, and a discriminator that sees source and target together."""

    drives = (Pix2Pix,)

    def translate(self, reals: Mapping[str, Tensor]) -> dict[str, Tensor]:
        target = self.model._default_domain
        source = self.model.get_other_domains(target)[0]
        made = self.model(reals[f"real_{source}"], target_domain=target, test_mode=False)
        return {f"fake_{target}": made["target"]}

    def discriminate(self, batch: Mapping[str, Tensor]) -> tuple[Predictions, Tensor]:
        target = self.model._default_domain
        source = self.model.get_other_domains(target)[0]
        outputs = {f"real_{domain}": batch[f"img_{domain}"] for domain in (source, target)}
        outputs |= self.translate(outputs)
        judge = self.model.get_module(self.model.discriminators)[target]
        pairs = [torch.cat((outputs[f"real_{source}"], outputs[f"{kind}_{target}"]), 1) for kind in ("fake", "real")]
        return [(judge(pairs[0]), False), (judge(pairs[1]), True)], self._own(outputs)


class UnpairedTranslationAdapter(TranslationAdapter):
    """CycleGAN: a generator and a discriminator for each domain."""

    drives = (CycleGAN,)

    def translate(self, reals: Mapping[str, Tensor]) -> dict[str, Tensor]:
        outputs = {}
        for target in self.model._reachable_domains:
            source = self.model.get_other_domains(target)[0]
            fake = self.model(reals[f"real_{source}"], test_mode=False, target_domain=target)["target"]
            outputs[f"fake_{target}"] = fake
            outputs[f"cycle_{source}"] = self.model(fake, test_mode=False, target_domain=source)["target"]
        return outputs

    # The discriminators see past fakes too, which a stock checkpoint lacks.
    @classmethod
    def progress(cls, model: Any) -> dict[str, Any]:
        return {domain: [image.clone() for image in buffer.image_buffer] for domain, buffer in cls._past(model)}

    @classmethod
    def load_progress(cls, model: Any, state: Mapping[str, Any]) -> None:
        device = next(model.parameters()).device
        for domain, buffer in cls._past(model):
            buffer.image_buffer = [image.to(device) for image in state[domain]]
            buffer.img_num = len(buffer.image_buffer)

    @staticmethod
    def _past(model: Any) -> Any:
        return [(d, b) for d, b in model.image_buffers.items() if b.buffer_size > 0]

    def discriminate(self, batch: Mapping[str, Tensor]) -> tuple[Predictions, Tensor]:
        domains = self.model._reachable_domains
        outputs = {f"real_{domain}": batch[f"img_{domain}"] for domain in domains}
        outputs |= self.translate(outputs)
        generators = self.model.get_module(self.model.generators)
        judges = self.model.get_module(self.model.discriminators)
        wanted = [key for loss in self.model.gen_auxiliary_losses or [] for key in (loss.data_info or {}).values()]
        for domain in domains if any(key.startswith("identity_") for key in wanted) else ():
            outputs[f"identity_{domain}"] = generators[domain](outputs[f"real_{domain}"])
        predictions = [
            (judges[d](outputs[f"{kind}_{d}"]), kind == "real") for d in domains for kind in ("fake", "real")
        ]
        return predictions, self._own(outputs)
